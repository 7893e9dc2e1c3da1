"""Measured figures of one head, invented: every arm that a page or the plot shows."""

from __future__ import annotations

from server.experiments.figure import Figure, Figures, Row


def figure(r2: float) -> Figure:
    return Figure(r2=(r2, r2 - 0.1, r2 + 0.1), mae=0.0512, auc=(0.8, 0.7, 0.9))


def row(arm: str, epsilon: float | None, r2: float, head: str = "cross_attention") -> Row:
    return Row(
        head=head,
        arm=arm,
        epsilon=epsilon,
        internal=figure(r2),
        external=figure(r2 - 0.05),
        seeds_r2=(r2, r2 + 0.001),
    )


FIGURES = Figures(
    rows=(
        row("federated", None, 0.6),
        row("federated", 8.0, 0.57),
        row("federated", 3.0, 0.54),
        row("federated", 1.0, 0.45),
        *(row("pooled", epsilon, 0.61) for epsilon in (None, 3.0, 1.0)),
        row("pooled", 8.0, 0.6),
        row("aster alone", 1.0, 0.2),
        row("aster alone", 3.0, 0.3),
        row("aster alone", 8.0, 0.35),
        row("aster alone", None, 0.4),
        row("no hospital training", None, 0.0),
        row("birch alone", 1.0, 0.25),
    ),
    ceilings={"aster": {"r2": 0.9, "image_r2": 0.8, "clinical_r2": 0.3}},
    federated_minus_smallest_alone={"cross_attention": (0.25, 0.2, 0.3)},
    n_internal=3000,
    n_external=3001,
    seeds=(101, 102),
    operating_points=(0.583, 0.71),
    measured_utc="2026-01-01T00:00:00+00:00",
)
