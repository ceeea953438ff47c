"""`gimp split`: make a table of splits, drawn or taken from another program."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gimp_plugin.cli import cohort_options, options
from gimp_plugin.keys import CASE_ID, LABEL

if TYPE_CHECKING:
    import pandas as pd

    from gimp_plugin.cohort.splitting.balance import Balance
    from gimp_plugin.cohort.splitting.folds import FoldPlan
    from gimp_plugin.cohort.splitting.splits import Splits

logger = logging.getLogger(__name__)

DEFAULT_FILE, DEFAULT_FOLDER = Path("splits.csv"), Path("splits")


@click.command("split", short_help="Draw splits or folds; writes a table.")
@cohort_options.adata
@cohort_options.labels
@cohort_options.cohort_option("--case-key")
@cohort_options.cohort_option("--label-key")
@click.option(
    "--from",
    "table",
    metavar="FILE|FOLDER",
    type=options.FILE,
    help="Draw nothing; take existing splits of gimp, CLAM, SurvPath or MMP.",
)
@click.option(
    "--val-as-test",
    is_flag=True,
    help="With --from: use its val as the test part, and draw a new val from its train.",
)
@click.option(
    "--slide-table",
    type=options.FILE,
    help="CSV slide_id,case_id, if the tables of another program name slides.",
)
@click.option(
    "--folds",
    type=int,
    default=0,
    metavar="K",
    show_default="none: 60/20/20",
    help="Number of folds; each is the test part once.",
)
@click.option(
    "--repeats", type=int, default=1, show_default=True, metavar="R", help="How often to draw."
)
@click.option(
    "--val-share",
    type=float,
    default=0.2,
    show_default=True,
    help="Share of the cases outside the test part that becomes val.",
)
@click.option(
    "--unlabelled",
    type=options.Choice(["use", "drop"]),
    show_default="leave out cases that --labels does not list, refuse a row without a class",
    help="Cases without a class: put them into train, for gimp pretrain --unlabelled use, or leave "
    "them out.",
)
@click.option("--site-key", metavar="COLUMN", help="Keep each site of this column in one part.")
@click.option("--by-site", is_flag=True, help="Keep each site of the TCGA barcodes in one part.")
@click.option(
    "--format",
    "kind",
    type=options.Choice(["gimp", "clam", "survpath"]),
    default="gimp",
    show_default=True,
    help="Layout of the table.",
)
@options.seed
@options.as_json
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    show_default="splits.csv, or the folder splits with --format clam or survpath",
    help="File or folder to write.",
)
@options.overwrite
def command(*, as_json: bool, overwrite: bool, **given: Any) -> None:
    """Draw the parts or the folds of a cohort, by patient and stratified by class.

    Prints how the classes are distributed over the parts. With whole sites, it also prints plain
    stratified folds for comparison.
    """
    import json

    from gimp_plugin.cohort.splitting.cases import read_cases
    from gimp_plugin.cohort.splitting.files import split_files, write_split_files

    check_usage(given)
    kind = given["kind"]
    output = options.check_output(
        given["output"] or (DEFAULT_FILE if kind == "gimp" else DEFAULT_FOLDER),
        folder=kind != "gimp",
    )
    obs, labels, bare = read_cases(
        given["adata"],
        given["labels"],
        label_key=given["label_key"] or LABEL,
        case_key=given["case_key"] or CASE_ID,
        unlabelled=given["unlabelled"],
    )
    folds, found = made(given, obs, labels, bare)
    slides = slides_for_clam(given, obs, folds) if kind == "clam" else None
    files = split_files(folds, output, kind=kind, slides=slides)
    outcome = "done" if write_split_files(files, overwrite=overwrite) else "nothing to do"
    if as_json:
        summary = {"output": str(output), "format": kind, "outcome": outcome, **found.to_dict()}
        click.echo(json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        click.echo(f"{found.to_markdown()}\n{output}: {outcome}")


def check_usage(given: Mapping[str, Any]) -> None:
    """Refuse options that do not go together.

    Parameters
    ----------
    given
        Options of the command.

    Raises
    ------
    ConfigError
        If no cases are given, or two options contradict each other.
    """
    from gimp_plugin.errors import ConfigError

    drawn = [name for name in ("folds", "site_key", "by_site") if given[name]]
    if given["repeats"] != 1:
        drawn.append("repeats")
    cases = given["adata"] or given["labels"]
    if not cases and given["table"] is None:
        raise ConfigError("no cases to split", hint="give --adata, --labels or --from")
    if given["table"] is not None and drawn:
        problem = f"--from draws nothing, so --{drawn[0].replace('_', '-')} cannot be used with it"
        raise ConfigError(problem, hint="leave one of the two out")
    if given["site_key"] and given["by_site"]:
        raise ConfigError("--site-key and --by-site both define the sites", hint="give one")
    if given["val_as_test"] and (given["table"] is None or not cases):
        hint = "give these, or leave --val-as-test out"
        raise ConfigError("--val-as-test needs --from, and --adata or --labels", hint=hint)
    if given["unlabelled"] == "use" and (given["table"] is not None or given["kind"] != "gimp"):
        problem = "--unlabelled use needs newly drawn splits in the gimp format"
        raise ConfigError(problem, hint="leave --from and --format out, or give --unlabelled drop")
    if given["val_share"] != 0.2 and not (given["folds"] or given["val_as_test"]):
        raise ConfigError("--val-share needs --folds or --val-as-test", hint="leave it out")


def made(
    given: Mapping[str, Any],
    obs: pd.DataFrame | None,
    labels: Mapping[str, str],
    bare: Sequence[str],
) -> tuple[tuple[Splits, ...], Balance]:
    """Return the checked folds and their balance; `bare` are the cases without a class."""
    from gimp_plugin.cohort.splitting.balance import Balance
    from gimp_plugin.cohort.splitting.folds import FoldPlan, draw_folds, large_sites
    from gimp_plugin.cohort.splitting.sites import sites_from_column, tcga_sites
    from gimp_plugin.cohort.splitting.unlabelled import with_unlabelled

    plan = FoldPlan(
        n_folds=given["folds"],
        n_repeats=given["repeats"],
        val_share=given["val_share"],
        seed=given["seed"],
    )
    if given["table"] is not None:
        tell(bare, len(labels) + len(bare))
        folds = taken(given, obs, (labels, bare), plan)
        check(folds, labels)
        return folds, Balance(folds=folds, labels=labels)
    used = [*labels, *(bare if given["unlabelled"] == "use" else ())]
    sites = None
    if given["by_site"]:
        sites = tcga_sites(used)
    elif given["site_key"] and obs is not None:
        sites = sites_from_column(obs, given["site_key"], used)
    for warning in [] if sites is None else large_sites(labels, sites, plan):
        logger.warning("%s", warning)
    folds = draw_folds(labels, plan, sites=sites)
    check(folds, labels)
    balance = Balance(
        folds=folds,
        labels=labels,
        sites=sites,
        plain=() if sites is None else draw_folds(labels, plan),
        test_share=plan.test_share,
    )
    if given["unlabelled"] != "use":
        tell(bare, len(labels) + len(bare))
        return folds, balance
    larger = tuple(with_unlabelled(one, bare, sites=sites) for one in folds)
    counts = {one.fold: sum(case_id in one.parts for case_id in bare) for one in larger}
    return larger, replace(balance, n_unlabelled=counts)


def tell(bare: Sequence[str], n_cases: int) -> None:
    """Warn of the cases that are left out because they have no class."""
    from gimp_plugin.errors import listed

    if bare:
        text = "%d of %d cases have no class and are left out: %s"
        logger.warning(text, len(bare), n_cases, listed(bare))


def taken(
    given: Mapping[str, Any],
    obs: pd.DataFrame | None,
    cases: tuple[Mapping[str, str], Sequence[str]],
    plan: FoldPlan,
) -> tuple[Splits, ...]:
    """Return the folds of another table, by case; cases without a class are left out."""
    from gimp_plugin.cohort.ids import same_case, tcga_slide_kind
    from gimp_plugin.cohort.splitting.folds import test_from_val
    from gimp_plugin.cohort.splitting.splits import read_folds

    labels, bare = cases
    by_case = slides_by_case(given["slide_table"], obs) or {}
    case_of = {slide: case for case, slides in by_case.items() for slide in slides}
    folds = []
    for fold in read_folds(given["table"]):
        names = {name: same_case(name) for name in fold.parts if tcga_slide_kind(name)}
        splits = fold.of_cases({**names, **case_of})
        splits = splits.known_to([*labels, *bare]).within(labels) if labels else splits
        folds.append(test_from_val(splits, labels, plan) if given["val_as_test"] else splits)
    return tuple(folds)


def slides_by_case(
    slide_table: Path | None, obs: pd.DataFrame | None
) -> dict[str, list[str]] | None:
    """Return the slides of each case, by a table or the column of `obs`; None without both."""
    from gimp_plugin.cohort.slide_table import read_slide_table, slides_of_obs
    from gimp_plugin.keys import SLIDE_ID

    if slide_table is not None:
        case_of = read_slide_table(slide_table)
    elif obs is not None and SLIDE_ID in obs:
        case_of = slides_of_obs(obs[SLIDE_ID].to_dict())
    else:
        return None
    slides: dict[str, list[str]] = {}
    for slide_id, case_id in sorted(case_of.items()):
        slides.setdefault(case_id, []).append(slide_id)
    return slides


def slides_for_clam(
    given: Mapping[str, Any], obs: pd.DataFrame | None, folds: Sequence[Splits]
) -> dict[str, list[str]] | None:
    """Return the same as `slides_by_case`; warn of what CLAM's tables will lack."""
    from gimp_plugin.errors import listed

    slides = slides_by_case(given["slide_table"], obs)
    if slides is None:
        logger.warning("the tables name cases, not slides: no --slide-table, no obs['slide_id']")
        return None
    cases = dict.fromkeys(case_id for splits in folds for case_id in splits.parts)
    bare = [case_id for case_id in cases if case_id not in slides]
    if bare:
        text = "%d of %d cases have no slide and are left out of the tables: %s"
        logger.warning(text, len(bare), len(cases), listed(bare))
    return slides


def check(folds: Sequence[Splits], labels: Mapping[str, str]) -> None:
    """Refuse folds that cannot be trained on, and warn of small ones."""
    from gimp_plugin.cohort.splitting.checks import check_parts, check_splits

    for splits in folds:
        check_parts(splits)
        for warning in check_splits(splits, labels) if labels else []:
            logger.warning("%s", warning)
