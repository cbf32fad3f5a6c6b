"""Exported code trains the target as telescope does, in a process that cannot import telescope, and
its text states the right facts.
"""

import ast
import copy
import json
import math
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from telescope.errors import NotExportable
from telescope.export import recipe, schedule, torch_code
from telescope.export.final_run import KNOWN_OPTIONS, FinalRun, final_run
from telescope.models.transformer import Transformer, initialise
from telescope.optim import optimizer
from telescope.optim.schedule import lr_factor
from telescope.parametrisation import mup
from telescope.studies.telescoping.evidence import Hyperparameter
from telescope.train.loop import step_runs
from telescope.train.run import TrainingRun
from telescope.trials.horizon import HorizonSpec
from telescope.trials.optimizer import OptimizerSpec
from tests.telescope.export.answers import answered, document, run_of

STEPS = 20
ROUNDING = {"adamw": 1e-5, "muon": 1e-4}
"""Tolerated relative difference of a step's loss, by optimizer. On some processors, losses agree
to 3e-7, their last bits, with either optimizer. On an AMD EPYC, the loss of the first step already
differs in its last bit. Muon rounds to bfloat16, where a last bit is 1/256 of an entry of an
update, so its losses then differ by 1.4e-5 to 3.3e-5. AdamW's losses still agree to 1e-5."""
MISTAKE = 5e-4
"""Least relative difference that a mistake in BROKEN makes; measured: 1e-3 and more."""
TIED = {"tied_embeddings": True, "query_heads_per_kv": 2, "qk_norm": True, "mlp": "relu2"}
RMS = {"optimizer_options": {"update_scale": "rms_match", "momentum": 0.9, "nesterov": False}}
COSINE = {"horizon": {"steps": 24, "batch_tokens": 128, "decay": "cosine", "warmup_fraction": 0.3}}
MICRO = {
    "horizon": {
        "steps": 24,
        "batch_tokens": 128,
        "micro_batch_tokens": 32,
        "decay": "wsd",
        "final_lr_fraction": 0.1,
    }
}

CASES: dict[str, dict[str, Any]] = {
    "muon": {},
    "muon, tied, grouped queries, rms_match": {"model": TIED} | RMS | COSINE,
    "muon, accumulated": MICRO,
    "muon, deeper target": {
        "model": {"target_depth": 2, "mlp": "gelu", "mlp_ratio": 2.0, "attention_scale": "inverse"}
    },
    "muon, latent attention": {"model": {"preset": "mla"}},
    "adamw, as GPT-2": {"optimizer": "adamw", "model": {"preset": "gpt2-like"}},
    "adamw": {"optimizer": "adamw"},
    "adamw, tied, grouped queries, accumulated": {"optimizer": "adamw", "model": TIED} | MICRO,
    "adamw, as the paper prints it": {"optimizer": "adamw", "parametrisation": "mup-paper"},
}

ALONE = """
import importlib.abc, importlib.util, json, runpy, sys

OURS = ("telescope", "workers", "api", "migrations", "jaxtyping", "pydantic")

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
try:
    import telescope
except ImportError:
    pass
else:
    raise SystemExit("telescope can be imported")

import torch

torch.set_num_threads(1)

def loaded(path):
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["exported"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module

def losses(code, model, batches, parts):
    code.initialise(model, seed=0)
    optimizers = code.build_optimizers(model)
    schedulers = code.build_schedulers(optimizers)
    step = code.train_step
    return [float(step(model, optimizers, schedulers, batch.chunk(parts))) for batch in batches]

def plain(code):
    # The same model without multipliers and with its head called as a module, like a user's model.
    class Plain(code.Transformer):
        def forward(self, tokens):
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x, (self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]))
            return self.head(self.norm(x))
    return Plain(code.SPEC, code.VOCAB_SIZE, code.CONTEXT, "mup")

folder, found = sys.argv[1], {}
for name, case in json.load(open(f"{folder}/cases.json")).items():
    code = loaded(case["file"])
    batches = torch.load(case["batches"])
    if "bare" in case:
        model, bare = plain(code), loaded(case["bare"])
        bare.configure(model)
        found[name] = losses(bare, model, batches, case["parts"])
    else:
        found[name] = losses(code, code.build_model(), batches, case["parts"])
    if name == "adamw":
        runpy.run_path(case["file"], run_name="__main__")
assert not [name for name in sys.modules if name.partition(".")[0] in OURS]
print(json.dumps(found))
"""


@dataclass
class Alone:
    """Files of exported code, to be run together in a process without telescope."""

    folder: Path
    cases: dict[str, dict[str, Any]]

    def add(self, name: str, text: str, batches: Path, parts: int = 1, bare: str = "") -> None:
        file = self.folder / f"{len(self.cases)}.py"
        file.write_text(text)
        self.cases[name] = {"file": str(file), "batches": str(batches), "parts": parts}
        if bare:
            (self.folder / f"bare{len(self.cases)}.py").write_text(bare)
            self.cases[name]["bare"] = str(self.folder / f"bare{len(self.cases)}.py")

    def losses(self) -> dict[str, list[float]]:
        (self.folder / "cases.json").write_text(json.dumps(self.cases))
        command = [sys.executable, "-I", "-c", ALONE, str(self.folder)]
        ended = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, timeout=200
        )
        assert ended.returncode == 0, ended.stderr
        losses: dict[str, list[float]] = json.loads(ended.stdout.splitlines()[-1])
        return losses


def telescope_losses(run: FinalRun, into: Path) -> list[float]:
    """The losses of telescope's own first steps, and their batches in a file."""
    training = TrainingRun(run.spec)
    torch.save([training.batch(step) for step in range(STEPS)], into)
    return [float(step_runs([training])) for _ in range(STEPS)]


def parts(run: FinalRun) -> int:
    """Micro-batches of a step."""
    horizon = run.spec.horizon
    return horizon.batch_tokens // (horizon.micro_batch_tokens or horizon.batch_tokens)


BROKEN = {
    "without weight decay": lambda text: re.sub(
        r"weight_decay=[\d.e-]+, eps=0.0", "weight_decay=0.0, eps=0.0", text
    ),
    "with the factor turned round": lambda text: text.replace(
        "lr_fn': 'original'", "lr_fn': 'match_rms_adamw'"
    ),
    "without the head's multiplier": lambda text: re.sub(
        r"(self.head_multiplier = scale \* )[\d.]+", r"\g<1>1.0", text
    ),
    "with a warm-up that lags": lambda text: text.replace(
        "return (step + 1) / WARMUP_STEPS", "return step / WARMUP_STEPS"
    ),
}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Losses of all cases: telescope's, and those of exported code."""
    folder = tmp_path_factory.mktemp("exported")
    alone, expected = Alone(folder, {}), {}
    for i, (name, changes) in enumerate(CASES.items()):
        run, batches = run_of(**changes), folder / f"{i}.pt"
        expected[name] = telescope_losses(run, batches)
        alone.add(name, torch_code.module_text(run), batches, parts(run))
        if name == "muon":
            alone.add(
                "a model of one's own",
                torch_code.module_text(run),
                batches,
                bare=torch_code.code_text(run, None),
            )
            for mistake, broken in BROKEN.items():
                text = torch_code.module_text(run)
                assert broken(text) != text, mistake
                alone.add(mistake, broken(text), batches)
    return expected, alone.losses()


def worst(losses: list[float], expected: list[float]) -> float:
    """The largest relative difference of any step."""
    return max(abs(a - b) / b for a, b in zip(losses, expected, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_it_trains_the_target_as_telescope_does_to_rounding(trained: Any, name: str) -> None:
    expected, alone = trained
    assert expected[name][-1] < expected[name][0] - 0.5, "it has learned something"
    assert worst(alone[name], expected[name]) < ROUNDING[name.split(",", maxsplit=1)[0]]


def test_a_model_that_applies_no_multipliers_is_configured_from_outside(trained: Any) -> None:
    expected, alone = trained
    assert worst(alone["a model of one's own"], expected["muon"]) < ROUNDING["muon"]


@pytest.mark.parametrize("mistake", BROKEN)
def test_code_with_one_wrong_number_or_line_trains_differently(trained: Any, mistake: str) -> None:
    expected, alone = trained
    assert worst(alone[mistake], expected["muon"]) > MISTAKE


# What the text says


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Code as a module of this process, where nothing is blocked."""

    def load(text: str) -> Any:
        module = ModuleType("exported")
        monkeypatch.setitem(sys.modules, "exported", module)
        exec(compile(text, "exported.py", "exec"), module.__dict__)
        return module

    return load


def test_it_imports_nothing_but_torch_and_the_standard_library() -> None:
    for bare in (False, True):
        run = run_of()
        tree = ast.parse(torch_code.code_text(run, None) if bare else torch_code.module_text(run))
        imported = [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        ]
        imported += [
            node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        ]
        assert {name.partition(".")[0] for name in imported} - set(sys.stdlib_module_names) == {
            "torch"
        }


def test_the_copied_model_has_its_forward_pass_and_no_training_methods() -> None:
    tree = ast.parse(torch_code.module_text(run_of()))
    (model,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Transformer"
    )
    members = model.body[1:]  # after its docstring
    assert [node.name for node in members if isinstance(node, ast.FunctionDef)] == [
        "__init__",
        "forward",
    ]
    assert len(members) == 2


def test_a_model_that_does_not_match_the_groups_is_refused(loaded: Any) -> None:
    code = loaded(torch_code.module_text(run_of()))
    model = code.build_model()
    model.surplus = nn.Linear(2, 2)
    del model.norm
    with pytest.raises(
        ValueError, match=r"it lacks norm\.weight; it also has surplus\.weight, surplus\.bias"
    ):
        code.build_optimizers(model)
    code.GROUPS = (*code.GROUPS, code.GROUPS[-1])
    with pytest.raises(ValueError, match=r"these are in two groups head\.weight"):
        code.parameter_groups(code.build_model())


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 60),
    warmup=st.floats(0, 1),
    decay=st.sampled_from(sorted(schedule.DECAYED)),
    fraction=st.floats(0, 1),
    final=st.floats(0, 1),
)
def test_the_formula_of_the_schedule_is_the_schedule(
    steps: int, warmup: float, decay: Any, fraction: float, final: float
) -> None:
    horizon = HorizonSpec(
        steps=steps,
        batch_tokens=32,
        warmup_fraction=warmup,
        decay=decay,
        decay_fraction=fraction,
        final_lr_fraction=final,
    )
    formula = compile(schedule.formula(horizon), "formula", "eval")
    names = {
        "math": math,
        "DECAYED": schedule.DECAYED[decay],
        **schedule.schedule_constants(horizon),
    }
    for step in range(steps):
        telescope_model = lr_factor(horizon, step)
        assert eval(formula, {"math": math, "step": step}) == telescope_model
        if step >= names["WARMUP_STEPS"]:
            assert (
                1 - (1 - final) * eval(schedule.DECAYED[decay], names | {"step": step})
                == telescope_model
            )


def test_after_the_last_step_the_learning_rate_stays(loaded: Any) -> None:
    for warmup in (0.0, 0.5, 1.0):
        run = run_of(horizon={"steps": 24, "batch_tokens": 128, "warmup_fraction": warmup})
        code = loaded(torch_code.module_text(run))
        assert [code.lr_factor(step) for step in range(24)] == [
            lr_factor(run.spec.horizon, step) for step in range(24)
        ]
        assert code.lr_factor(24) == code.lr_factor(1000) == code.lr_factor(23)


@pytest.mark.parametrize("scale", mup.UPDATE_SCALES)
@pytest.mark.usefixtures("same_products")
def test_torchs_muon_with_the_exported_numbers_steps_as_ours_for_every_update_scale(
    loaded: Any, scale: Any
) -> None:
    run = run_of(optimizer_options={"update_scale": scale}, force_pairing=True)
    code = loaded(torch_code.module_text(run))
    telescope_model = Transformer(
        run.spec.model, run.spec.data.vocab_size, run.spec.data.context, "mup"
    )
    initialise(telescope_model, run.spec.optimizer, seed=3)
    exported_model = code.build_model()
    exported_model.load_state_dict(telescope_model.state_dict())
    generator = torch.Generator().manual_seed(0)
    for parameter, twin in zip(
        telescope_model.parameters(), exported_model.parameters(), strict=True
    ):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        twin.grad = parameter.grad.clone()
    before = {
        name: parameter.detach().clone() for name, parameter in telescope_model.named_parameters()
    }
    optimizer.build_optimizer(telescope_model, run.spec.optimizer).step(1.0)
    for part in code.build_optimizers(exported_model):
        part.step()
    for name, parameter in telescope_model.named_parameters():
        moved = (parameter.detach() - before[name]).abs().max()
        assert torch.allclose(
            parameter, exported_model.get_parameter(name), rtol=0, atol=float(moved) * 1e-4
        ), name


def test_every_option_is_listed_among_the_known_options() -> None:
    for spec, options in KNOWN_OPTIONS.items():
        assert {field.name for field in fields(spec)} == set(options), (
            "teach the exports the option, then enter it"
        )


def test_an_option_that_it_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    options = tuple(name for name in KNOWN_OPTIONS[OptimizerSpec] if name != "momentum")
    monkeypatch.setitem(KNOWN_OPTIONS, OptimizerSpec, options)
    assert torch_code.module_text(run_of())
    with pytest.raises(
        NotExportable, match="momentum: is an option that this format cannot express"
    ):
        torch_code.module_text(run_of(optimizer_options={"momentum": 0.9}))


@pytest.mark.parametrize(
    "option", [{"qk_clip": 50.0}, {"muon_split": "heads"}], ids=["qk_clip", "muon_split"]
)
def test_options_that_torchs_optimizers_lack_are_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(NotExportable, match=next(iter(option))):
        torch_code.module_text(run_of(optimizer_options=option))


def test_an_orthogonalisation_in_float32_is_refused_since_torchs_is_not() -> None:
    run = run_of(optimizer_options={"newton_schulz_dtype": "float32"})
    with pytest.raises(
        NotExportable, match=r"optimizer_options\.newton_schulz_dtype: .* tune with bfloat16"
    ):
        torch_code.module_text(run)


def test_a_hostile_job_name_cannot_become_code(loaded: Any) -> None:
    name = 'a """\nraise SystemExit("hostile")\n""" \\ '
    code = loaded(torch_code.module_text(run_of(name=name)))
    assert "hostile" in code.__doc__
    assert "SystemExit" in code.__doc__


def test_an_answer_that_is_not_resolved_warns_in_the_text_and_when_it_runs(loaded: Any) -> None:
    run = final_run(
        *answered(
            document(search={"lr": {"low": 0.002, "high": 0.008, "points": 4, "extend": False}})
        )
    )
    assert run.ladder.verdict == "unbracketed"
    text = torch_code.module_text(run)
    with pytest.warns(
        UserWarning, match="UNBRACKETED: these hyperparameters may be far from the best"
    ):
        code = loaded(text)
    assert code.__doc__.splitlines()[2].startswith("WARNING: UNBRACKETED")
    assert "WARNING" not in torch_code.module_text(run_of())


def test_only_a_fitted_value_has_an_interval_in_the_docstring() -> None:
    fitted = Hyperparameter(0.02, 0.01, 0.04, True, "resolved", 1.0, 0.5)
    assert torch_code.value_text(fitted) == "0.02 (0.01 to 0.04, resolved)"
    fixed = Hyperparameter(0.1, 0.1, 0.1, False, "fixed", 0.0, None)
    assert torch_code.value_text(fixed) == "0.1 (fixed)"


def test_the_docstring_states_the_source_of_the_numbers(loaded: Any) -> None:
    run = run_of(name="my job")
    text = " ".join(loaded(torch_code.module_text(run)).__doc__.split())
    facts = (
        "job-1 (my job), 2030-01-02 03:04 UTC",
        "resolved: lr at the target is known",
        "robust, pooled",
        run.spec.data.content,
        "torch on cpu",
    )
    for fact in (*facts, f"{len(run.trials)}, with the seeds 0", "lr 0.03"):
        assert fact in text


def test_hooks_survive_copies_and_files(loaded: Any) -> None:
    code = loaded(torch_code.code_text(run_of(), None))
    assert code.MULTIPLIERS == (("head", "input", 0.25),)
    model = nn.ModuleDict({"embedding": nn.Embedding(8, 4), "head": nn.Linear(4, 8, bias=False)})
    code.configure(model)
    x = torch.randn(3, 4)
    expected = functional.linear(x * 0.25, model["head"].weight)
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(copied["head"](x), expected)


def test_multipliers_of_embeddings_are_applied_to_their_output(loaded: Any) -> None:
    code = loaded(torch_code.code_text(run_of("adamw", parametrisation="mup-paper"), None))
    assert code.MULTIPLIERS == (("embedding", "output", 2.0), ("head", "input", 0.5))
    model = nn.ModuleDict({"embedding": nn.Embedding(8, 4), "head": nn.Linear(4, 8, bias=False)})
    code.configure(model)
    assert torch.equal(model["embedding"](torch.arange(8)), model["embedding"].weight * 2.0)


def test_lines_are_short_and_comments_for_tools_are_removed(loaded: Any) -> None:
    text = torch_code.module_text(run_of())
    assert max(map(len, text.splitlines())) <= 140
    assert "type: ignore" not in text
    assert "noqa" not in text


def test_the_recipe_does_not_import_telescope() -> None:
    imported = ast.parse(Path(recipe.__file__).read_text())
    assert not [
        node
        for node in ast.walk(imported)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("telescope")
    ]
