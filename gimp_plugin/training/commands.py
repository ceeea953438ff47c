"""The two training commands, `pretrain` and `finetune`."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from gimp_plugin.assembly.build import build_model
from gimp_plugin.assembly.device import accelerator_of
from gimp_plugin.assembly.load import load_run, transform_of
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.data.study import prepare, with_defaults
from gimp_plugin.errors import CheckpointError, NotFiniteError
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.plugins import registry
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.resume import check_writable
from gimp_plugin.training.folder import RunResult, write_results, write_start
from gimp_plugin.training.gimp import GimpTrainer
from gimp_plugin.training.inherited import (
    check_fits,
    check_same_model,
    splits_after,
    warn_of_missing_genes,
)
from gimp_plugin.training.material import Material
from gimp_plugin.training.pairs import check_pairs, learns_from_pairs
from gimp_plugin.training.plan import (
    Plan,
    check_leaks,
    fitted_transform,
    splits_of,
    with_this_run,
    without_folder,
)
from gimp_plugin.training.ranks import Ranks, joined
from gimp_plugin.training.start import start_decoder_at_median
from gimp_plugin.training.systems import check_fresh, check_whole
from gimp_plugin.training.tools import Tools
from gimp_plugin.training.tracking import tracked
from gimp_plugin.training.unlabelled import check_genes, check_halves, check_slides

logger = logging.getLogger(__name__)

FROM_GENES = "genes"
FROM_NONE = "none"


def pretrain(
    source: CohortSource, config: GimpConfig, *, output: Path, runtime: Runtime
) -> RunResult:
    """Pre-train the gene encoder on the labels, then the image half by patches and triplets.

    Because labels are used, only training cases are trained on; the epoch of the gene stage is
    chosen on the validation cases. With `source.unlabelled` set to `use`, training cases without a
    class take part in masked patch modeling. A trainer that learns from pairs needs no labels and
    trains both encoders at once. An interrupted run resumes when the same command is run again.

    Parameters
    ----------
    source
        Where the cases are.
    config
        Settings of the model and the training.
    output
        The run folder.
    runtime
        Device, precision and seed.

    Returns
    -------
    Folder, outcome and metrics of the run.

    Raises
    ------
    GimpError
        If the inputs are not valid, `output` holds a run made from other inputs, or the loss stops
        being finite.
    """

    def train(trainer: GimpTrainer, model: GimpModel, material: Material) -> dict[str, Any]:
        if model.decoder is not None and config.pretrain.decoder_start == "median":
            start_decoder_at_median(model, material)
        stages = {}
        if not learns_from_pairs(config):
            stages = trainer.pretrain_genes(model, material.only(labelled=True))
        return {**stages, **trainer.pretrain(model, material)}

    with joined(runtime) as ranks:
        with ranks.together():
            check_fresh(config.model, "gimp pretrain")
            plan = _fresh_plan("pretrain", source, config, runtime)
            model = _fresh_model(plan)
        return _trained(plan, output, model, train)


def finetune(
    source: CohortSource, config: GimpConfig, *, start: str, output: Path, runtime: Runtime
) -> RunResult:
    """Fine-tune for classification.

    Parameters
    ----------
    source
        Where the cases are; fields that are None are taken from the run given as `start`.
    config
        Settings of the model and the training; if `start` is a run, only those settings of the
        model may differ from it that fine-tuning adds.
    start
        A run folder; `genes` for gene pre-training only (the paper's "without pre-training"); or
        `none`, which trains everything at once.
    output
        The run folder.
    runtime
        Device, precision and seed.

    Returns
    -------
    Folder, outcome and metrics of the run.

    Raises
    ------
    SplitError
        If a val or test case was a training case of the run given as `start`, or of an ancestor.
    CheckpointError
        If the classes or the bags are not those of the run given as `start`, or it is a bundle.
    GimpError
        If the inputs are not valid, `output` holds a run made from other inputs, or the loss stops
        being finite.
    """

    def train(trainer: GimpTrainer, model: GimpModel, material: Material) -> dict[str, Any]:
        stages = trainer.pretrain_genes(model, material) if start == FROM_GENES else {}
        frozen = start == FROM_GENES or (start != FROM_NONE and not learns_from_pairs(config))
        return {**stages, **trainer.finetune(model, material, frozen_genes=frozen)}

    with joined(runtime) as ranks:
        with ranks.together():
            if start != FROM_NONE:
                check_fresh(config.model, f"--from {start}")
            if start in {FROM_GENES, FROM_NONE}:
                plan = _fresh_plan("finetune", source, config, runtime)
                plan = replace(plan, start={"from": start})
                if start == FROM_GENES:
                    check_genes(plan.study, plan.splits, config)
                check_whole(config.model, plan.study.cases)
                model = _fresh_model(plan, decoder=False)
            else:
                plan, model = _plan_after(Path(start), source, without_folder(config), runtime)
        return _trained(plan, output, model, train)


def _plan_after(
    start: Path, source: CohortSource, config: GimpConfig, runtime: Runtime
) -> tuple[Plan, GimpModel]:
    """Plan and model that continue from another run."""
    record, pretrained = load_run(start)
    if record.bundled:
        problem = (
            f"{str(start)!r} is a model bundle: it does not know which cases it was trained on"
        )
        raise CheckpointError(problem, hint="start from the run that it was made from")
    check_same_model(config.model, record)
    given, source = source, with_defaults(source, of=record.source)
    study = prepare(source, modalities=config.model.modalities)
    check_fits(study, record)
    plan = Plan(
        kind="finetune",
        config=config,
        source=source,
        runtime=runtime,
        study=study,
        splits=splits_after(study, given, record, seed=runtime.seed),
        transform=transform_of(record),
        classes=record.classes,
        trained_on={},
        start={"from": "run", "model": sha256_file(record.weights)},
    )
    check_leaks(plan.splits, record.trained_on)
    check_slides(study, plan.splits, config)
    warn_of_missing_genes(plan.transform, study.cohort)
    plan = replace(plan, trained_on=with_this_run(plan.splits, record.trained_on))
    model = _fresh_model(plan, decoder=False)
    inherited = {
        name: one
        for name, one in pretrained.state_dict().items()
        if not name.startswith(("decoder.", "fusion.", "head."))
    }
    model.load_state_dict({**model.state_dict(), **inherited})
    return plan, model


def _fresh_plan(kind: str, source: CohortSource, config: GimpConfig, runtime: Runtime) -> Plan:
    """Plan of a run that starts from no other run."""
    source = with_defaults(source)
    pretrains = kind == "pretrain"
    study = prepare(source, modalities=config.model.modalities, unlabelled=pretrains)
    splits = splits_of(study, source, seed=runtime.seed)
    check_slides(study, splits, config)
    if pretrains and learns_from_pairs(config):
        check_pairs(study, splits, config)
    elif pretrains:
        check_genes(study, splits, config)
        check_halves(study, splits, config)
    return Plan(
        kind=kind,
        config=without_folder(config),
        source=source,
        runtime=runtime,
        study=study,
        splits=splits,
        transform=fitted_transform(study, splits, config, seed=runtime.seed),
        classes=tuple(sorted({one for name, one in study.labels.items() if name in splits.parts})),
        trained_on=with_this_run(splits),
        start={},
    )


def _fresh_model(plan: Plan, *, decoder: bool = True) -> GimpModel:
    """Model with initial weights."""
    return build_model(
        plan.config.model,
        n_genes=0 if plan.transform is None else len(plan.transform.gene_ids),
        feature_dim=plan.study.feature_dim,
        n_classes=len(plan.classes),
        seed=plan.runtime.seed,
        decoder=decoder,
    )


def _trained(plan: Plan, output: Path, model: GimpModel, train: Any) -> RunResult:
    """Claim the folder, train, write and seal; if the run is current, do nothing."""
    accelerator = accelerator_of(plan.runtime, folder=output)
    tools = Tools(
        accelerator=accelerator,
        folder=output,
        seed=plan.runtime.seed,
        num_workers=plan.runtime.num_workers,
    )
    ranks = tools.ranks
    with ExitStack() as stack:
        if not _claimed(plan, output, ranks, stack):
            logger.info("%s is complete and current: nothing to do", output)
            return RunResult(output, "nothing to do", runs.read_run(output).metrics)
        stack.enter_context(tracked(tools))
        with ranks.together():
            if plan.runtime.checkpoint_activations:
                used = plan.config.model.system or plan.config.model.aggregator
                _checkpoint_activations(model, used)
            trainer = registry().load("trainer", plan.config.model.trainer)(plan.config, tools)
        material = plan.material()
        try:
            stages = train(trainer, model, material)
        except NotFiniteError as error:
            for kind, name in plan.plugins().items():
                error.add_note(f"its {kind} comes from a plugin: {name}")
            raise
        with ranks.together():
            if ranks.is_main:
                write_results(
                    output,
                    plan,
                    model,
                    stages=stages,
                    class_means=material.class_means() if plan.kind == "finetune" else None,
                    n_processes=ranks.world,
                )
    return RunResult(output, "done", runs.read_run(output).metrics)


def _checkpoint_activations(model: GimpModel, name: str) -> None:
    """Make the aggregator recompute its activations, if it can; else warn."""
    if hasattr(model.aggregator, "checkpointed"):
        model.aggregator.checkpointed = True
    else:
        logger.warning("--checkpoint-activations has no effect: %s keeps them all", name)


def _claimed(plan: Plan, output: Path, ranks: Ranks, stack: ExitStack) -> bool:
    """Lock and claim the folder for all ranks; False if it holds this run, finished."""
    identity, claimed = plan.identity(), False
    main_identity = ranks.same(identity)
    with ranks.together():
        if identity != main_identity:
            problem = f"process {ranks.rank} reads different inputs from the main process"
            raise CheckpointError(problem, hint="give every machine the same files")
        if ranks.is_main:
            output.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(output / ".lock"))
            check_writable(output / runs.RESUME)
            claimed = runs.claim_run(output, identity, overwrite=plan.runtime.overwrite)
            if claimed:
                write_start(output, plan, n_processes=ranks.world)
    return ranks.same(claimed)
