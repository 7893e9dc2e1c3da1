"""Commands without hospitals: demo, loopback, figures, encoders. All patients there are synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from server.command.options import HOME, HomeOption, Run
from shared.contract.encoder_names import Published, Taught
from shared.machine.terminal import (
    JsonOption,
    Overrides,
    command,
    progress,
    show_facts,
    show_json,
    show_table,
    when_stopped,
)
from shared.signing.canonical import hash_file

workshop_app = typer.Typer()
_AUDITED_CANARIES = 1000
# The table of architectures imports torch, and `--help` must not: a test holds this to the table.
_Layout = Literal[
    "torchvision", "torchvision-file", "radimagenet-torch", "dinov2", "timm-vit", "efficientnet-lite0"
]
_OtherLessons = Literal[
    "standin_resnet_spine",
    "standin_resnet_pictures",
    "standin_resnet_drawn",
    "standin_densenet_pictures",
    "standin_densenet_drawn",
]
_Pretrained = Literal[Taught, _OtherLessons, "landmark"]


_LANDMARK = "shared/exam/landmarks/hip.safetensors"
_LANDMARK_FILMS, _LANDMARK_SEED = 2_500, 20_262
_ENCODER_SEED = 20_241


@workshop_app.command()
@command
@when_stopped("{folder} is kept to be looked at; the same command begins again from the start")
def demo(
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Draws the synthetic patients, never noise.")] = 1,
    audit: Annotated[
        bool, typer.Option("--audit", help="Train canaries too, and audit the run afterwards.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Play a whole federation of four synthetic hospitals on this machine, from DICOM to a report."""
    from server.demo.play import play_demo
    from server.report.terminal import table_for_terminal

    chosen = [*([f"privacy.canaries={_AUDITED_CANARIES}"] if audit else []), *(overrides or [])]
    results, paths = play_demo(folder, overrides=chosen, seed=seed, is_audited=audit)
    if as_json:
        show_json(results.model_dump(mode="json") | {"files": paths})
        return
    for table in table_for_terminal(results):
        show_table(table.title, table.columns, table.rows)
    show_facts("", paths)


@workshop_app.command()
@command
def loopback(
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("loopback"),
    as_json: JsonOption = False,
) -> None:
    """Run a federation deployed for real on loopback: TLS, node keys, one process per party."""
    from server.demo.loopback import play_loopback

    facts = play_loopback(folder, overrides=overrides or [])
    show_json(facts) if as_json else show_facts("deployed federation, torn down again", facts)


@workshop_app.command()
@command
def figures(
    folder: Annotated[Path, typer.Option(help="Where the demo is played.")] = Path("figures"),
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; medians are printed.")] = 3,
    evaluated: Annotated[int, typer.Option(min=300, help="Fresh patients per place.")] = 3000,
    as_json: JsonOption = False,
) -> None:
    """Measure what the README prints: every arm, every head, internal and external."""
    from server.experiments.figures import measure_figures

    with progress("arms") as advance:
        written = measure_figures(folder, n_seeds=seeds, n_evaluated=evaluated, progress=advance)
    facts: dict[str, object] = {name: str(path) for name, path in written.items()}
    show_json(facts) if as_json else show_facts("written", facts)


@workshop_app.command()
@command
def phantoms(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all, if none is named.")] = None,
    folder: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("phantoms"),
    seed: Annotated[int, typer.Option(help="Draws the synthetic patients.")] = 1,
    patients: Annotated[
        int, typer.Option(min=0, help="Of each hospital; 0: contact sheets alone.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic films of other body parts: a contact sheet each, and eight hospitals' folders."""
    from server.synthetic.phantoms.folder import write_hospital, write_profile
    from server.synthetic.phantoms.settings import phantom_names, read_hospitals
    from server.synthetic.phantoms.sheet import write_sheet

    told: dict[str, object] = {}
    for name in names or phantom_names():
        picture = folder / f"phantom-{name}.png"
        told |= {str(picture): list(write_sheet(picture, name, seed=seed))}
        for hospital in read_hospitals() if patients else ():
            write_hospital(folder / name / hospital, name, hospital, seed, n_patients=patients)
            write_profile(folder / name / f"{hospital}.profile.yaml", name, hospital)
            told |= {str(folder / name / hospital): f"{patients} patients"}
    show_json(told) if as_json else show_facts("written", told)


@workshop_app.command()
@command
def pretrain(
    network: Annotated[
        _Pretrained,
        typer.Argument(
            help="The default encoder, a stand-in of a family of published ones, or what finds the hip."
        ),
    ] = "tiny",
    out: Annotated[Path | None, typer.Option(help="File to write; by default the shipped one.")] = None,
    films: Annotated[
        int | None,
        typer.Option(min=64, help="Public synthetic films; by default as the shipped one had."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draws films and initial weights; by default that of the shipped one."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a shipped network anew on public synthetic films or pictures, never on a patient's BMD."""
    from server.encoders.pretrain import pretrain as fit_encoder
    from server.encoders.pretrain_landmark import pretrain_landmark as fit_landmark

    is_landmark = network == "landmark"
    written = out or Path(_LANDMARK if is_landmark else f"configs/encoder/{network}.safetensors")
    with progress(f"pretraining, {network}") as advance:

        def show(_: str, done: int, total: int) -> None:
            advance(done, total)

        if is_landmark:
            n, drawn = films or _LANDMARK_FILMS, _LANDMARK_SEED if seed is None else seed
            sha256 = fit_landmark(written, n_films=n, seed=drawn, progress=show)
        else:
            drawn = _ENCODER_SEED if seed is None else seed
            sha256 = fit_encoder(written, encoder=network, n_films=films, seed=drawn, progress=show)
    facts: dict[str, object] = {"weights": str(written), "sha256": sha256}
    what_next = (
        "another network is another preprocessing: name it anew in shared/exam/pixels.py"
        if is_landmark
        else f"put the hash into configs/encoder/{network}.yaml"
    )
    show_json(facts) if as_json else show_facts(what_next, facts)


@workshop_app.command()
@command
def weights(
    checkpoint: Annotated[
        Path, typer.Argument(help="State dict on this machine.", exists=True, dir_okay=False)
    ],
    encoder: Annotated[Published, typer.Option(help="Which architecture it is for.")],
    out: Annotated[Path, typer.Option(help="Encoder file to write.")],
    layout: Annotated[
        _Layout | None,
        typer.Option(help="Whose names its tensors have; if not said, the first one of the encoder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Pack a local checkpoint for use as an encoder; prints its hash for the settings."""
    from server.encoders.pack_weights import pack_checkpoint

    sha256 = pack_checkpoint(checkpoint, out, encoder=encoder, layout=layout)
    facts: dict[str, object] = {
        "settings": f"encoder={encoder} encoder.weights={out.resolve()} encoder.sha256={sha256}"
    }
    show_json(facts) if as_json else show_facts("packed", facts)


@workshop_app.command()
@command
def cells(
    file: Annotated[Path, typer.Argument(help="An encoder's file.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="File to write, with the same weights.")],
    as_json: JsonOption = False,
) -> None:
    """Add what public films say of an encoder's cells to its file, for sources with a token_grid.

    Takes minutes, since its films are drawn again; a file that lacks nothing is left alone at once.
    """
    from server.encoders.public_cells import add_cells, constants_missing, films_of_recipe

    if not constants_missing(file):
        facts: dict[str, object] = {"weights": str(file), "sha256": hash_file(file)}
        said = "nothing is missing: use the file as it is, no other is written"
        show_json(facts) if as_json else show_facts(said, facts)
        return
    with progress("public films") as advance:

        def show(_: str, done: int, total: int) -> None:
            advance(done, total)

        films = films_of_recipe(file, progress=show)
    facts = {"weights": str(out), "sha256": add_cells(file, out, films)}
    what_next = "name the hash where the file is named: a file of other bytes is another encoder"
    show_json(facts) if as_json else show_facts(what_next, facts)


@workshop_app.command()
@command
def clusters(
    out: Annotated[Path, typer.Option(help="Learner's option to write: OWN/learner/NAME.yaml.")],
    overrides: Overrides = None,
    most: Annotated[int, typer.Option(min=1, max=1000, help="Clusters at most.")] = 1000,
    films: Annotated[int, typer.Option(min=100, help="Public synthetic films.")] = 300,
    then: Annotated[
        Literal["lda", "logistic", "mlp", "proportional_odds"],
        typer.Option(help="Learner that is trained on the columns kept."),
    ] = "mlp",
    configs: Annotated[
        Path | None, typer.Option(help="Folder with options of your own, GROUP/NAME.yaml.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Cluster the columns of films on public synthetic films, into an option of a learner."""
    from server.encoders.public_clusters import cluster_films, write_learner
    from server.federation.compose import compose_settings

    settings = compose_settings(overrides or [], own=configs)
    with progress("public films") as advance:

        def show(_: str, done: int, total: int) -> None:
            advance(done, total)

        found = cluster_films(settings, max_clusters=most, n_films=films, progress=show)
    n_kept = write_learner(out, found, then=then, n_films=films)
    facts: dict[str, object] = {"columns": len(found), "clusters": n_kept, "option": str(out)}
    show_json(facts) if as_json else show_facts("one column of each cluster is kept", facts)


@workshop_app.command()
@command
def pack(
    run: Run,
    out: Annotated[Path, typer.Option(help="Encoder file to write.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Pack the encoder that a run trained, from its release, for later plans; prints how to name it."""
    from server.encoders.pack_release import pack_release
    from server.federation.folder import Home
    from server.run.folder import open_run
    from server.run.release import held_release

    release = held_release(open_run(Home(home).planned_run(run)))
    sha256, name = pack_release(release, out), release.plan.settings.encoder.name
    file = f"weights: {out.resolve()}, sha256: {sha256}"
    facts: dict[str, object] = {
        "settings": f"encoder={name} encoder.training=frozen encoder.weights={out.resolve()} "
        f"encoder.sha256={sha256}",
        "source": f"{{kind: encoder, encoder: {name}, name: {run.replace('-', '_')}, {file}}}",
    }
    show_json(facts) if as_json else show_facts("packed", facts)
