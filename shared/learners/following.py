"""The learners of classes, by name: they may follow a choice of columns. Imports them.

The one place that a new learner of classes is added to. What predicts a number, or chooses columns
itself, cannot follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from shared.features.columns import Columns
from shared.learners.boosting import Boosting, BoostingSettings
from shared.learners.forest import Forest, ForestSettings
from shared.learners.lda import Lda, LdaSettings
from shared.learners.linear_svm import LinearSvm, LinearSvmSettings
from shared.learners.logistic import Logistic, LogisticSettings
from shared.learners.mlp import Mlp, MlpSettings
from shared.learners.naive_bayes import NaiveBayes, NaiveBayesSettings
from shared.learners.nearest_centroid import NearestCentroid, NearestCentroidSettings
from shared.learners.proportional_odds import ProportionalOdds, ProportionalOddsSettings
from shared.learners.soft_neighbours import SoftNeighbours, SoftNeighboursSettings
from shared.learners.task import TableTask
from shared.sums.contract import Learner

OfClasses = (
    BoostingSettings
    | ForestSettings
    | LdaSettings
    | LinearSvmSettings
    | LogisticSettings
    | MlpSettings
    | NaiveBayesSettings
    | NearestCentroidSettings
    | ProportionalOddsSettings
    | SoftNeighboursSettings
)
Following = Annotated[OfClasses, Field(discriminator="kind")]
# Each takes its own settings, which the discriminator has matched.
FOLLOWING: Mapping[str, Callable[[Any, TableTask], Learner[Columns]]] = {
    "boosting": Boosting.build,
    "forest": Forest.build,
    "lda": Lda.build,
    "linear_svm": LinearSvm.build,
    "logistic": Logistic.build,
    "mlp": Mlp.build,
    "naive_bayes": NaiveBayes.build,
    "nearest_centroid": NearestCentroid.build,
    "proportional_odds": ProportionalOdds.build,
    "soft_neighbours": SoftNeighbours.build,
}


def build_following(settings: Following, task: TableTask) -> Learner[Columns]:
    """The learner on the columns of a task that were kept.

    Raises:
        SettingsError: it does not suit the task's target.
    """
    return FOLLOWING[settings.kind](settings, task)
