"""Which settings and classes there are, read from the source text: importing the classes takes seconds.

A configuration names a class by its short name (``class_path: EpochLog``), so that files can move. What may be built is
a list: the public classes of the project's packages, the optimisers of torch, and the classes of `LIGHTNING`.
"""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.paths import ROOT
from experiments.setting_ranges import fault

PACKAGES = ("callbacks", "datamodules", "lightning_modules")

LIGHTNING = {
    name: f"lightning.pytorch.{place}.{name}"
    for place, names in {
        "callbacks": "DeviceStatsMonitor EMAWeightAveraging EarlyStopping LearningRateMonitor ModelCheckpoint "
        "ModelSummary RichModelSummary StochasticWeightAveraging Timer WeightAveraging",
        "loggers": "CSVLogger TensorBoardLogger",
        "profilers": "AdvancedProfiler PyTorchProfiler SimpleProfiler",
    }.items()
    for name in names.split()
}
"""Lightning's classes that a configuration may build: none opens the network, and `cli` checks where they write."""

ALLOW_CLASSES = "PITCH_TIMBRE_ALLOW_CLASSES"
"""The environment variable that names more packages for ``class_path``, separated by commas."""

OPTIMISERS = re.compile(r"torch\.optim\.(lr_scheduler\.)?[A-Z]\w+|lightning\.pytorch\.cli\.ReduceLROnPlateau")

RENAMED = {
    "data.heard": "data.pitch_tracker",
    "model.axis.encoder": "model.pitch_encoder",
    "model.axis.margin": "model.pitch_encoder.margin",
    "model.axis.overblown": "model.axis.subharmonic_share",
    "model.axis.trials": "model.axis.restarts",
    "model.weights.heard": "model.weights.pseudo_label",
}
"""Settings of earlier versions, without ``init_args``, and their names now."""

SCHEDULE = "model.schedule.init_args.{} of class_path: WarmupCosine"
RENAMED_WITHOUT_CLASS = {f"model.schedule.{name}": SCHEDULE.format(name) for name in ("warmup_steps", "final_share")}
"""Settings that had no class before, and their names now."""

RENAMED_CLASSES = {"SamplerSource": "EmbeddedNotes"}
RENAMED_FILES = {"sampler.yaml": "embedded.yaml", "m7_not_overblown.yaml": "m7_no_subharmonics.yaml"}

DATA_MODULES = ("NotePairs", "NoteSequences")
"""What `data.class_path` may name; the first where it is left out. Their settings stand below `data` itself."""

OF_THE_RUN = {
    "seed_everything": "int",
    "row": "str",
    "run_dir": "Path",
    "classifier_dir": "Path",
    "trainer": "Trainer",
    "model": "LightningModule",
    "data": DATA_MODULES[0],
    "optimizer": "Optimizer",
    "lr_scheduler": "LRScheduler",
    "ckpt_path": "Path",
    "weights_only": "bool | None",
    "verbose": "bool",
    "return_predictions": "bool | None",
}
"""The settings at the top, and their types."""


BUILT_BY_THE_TRAINER = tuple(f"trainer.{name}" for name in ("callbacks", "logger", "plugins", "profiler"))
PLAIN_FOR_THE_TRAINER = ("true", "false", "null", "simple", "advanced", "pytorch")


class UnknownSettingError(ValueError):
    """A setting or class that there is not; the message is one line."""


def nearest(name: str, known: Any) -> str:
    """``; did you mean ...?`` with the known name that is most like ``name``, or nothing."""
    close = get_close_matches(name, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def more_packages() -> list[str]:
    """The packages that the user allows beside the list."""
    return [name.strip() for name in os.environ.get(ALLOW_CLASSES, "").split(",") if name.strip()]


@cache
def known_classes() -> dict[str, str]:
    """Short name -> import path of what a configuration may build, beside the optimisers."""
    found = dict(LIGHTNING)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for name in re.findall(r"^class ([A-Z]\w*)", file.read_text(), re.MULTILINE):
                found[name] = f"{module}.{name}"
    return found


def import_path(name: str, where: str) -> str:
    """The import path of a class, from its short name or an import path.

    Raises:
        UnknownSettingError: a configuration may not build it.
    """
    known, short = known_classes(), name.rpartition(".")[2]
    package = name.partition(".")[0]
    if name in known:
        return known[name]
    if name.startswith("lightning.pytorch.") and short in LIGHTNING:
        return LIGHTNING[short]  # from whichever of its modules: Lightning's own names differ between versions
    if name in known.values() or OPTIMISERS.fullmatch(name) or package in more_packages():
        return name
    if short in RENAMED_CLASSES:
        raise UnknownSettingError(f"{where}the class {name} is now written {RENAMED_CLASSES[short]}")
    if short in known and package in PACKAGES:
        raise UnknownSettingError(f"{where}the class {name} is now written {short}")
    if "." not in name or package in PACKAGES:
        raise UnknownSettingError(f"{where}there is no class {name}{nearest(short, known)}")
    raise UnknownSettingError(
        f"{where}{name}: not a class that a configuration may name, so it is not imported; if you trust it, set "
        f"{ALLOW_CLASSES}={package} in the environment"
    )


@cache
def _source(dotted: str) -> ast.ClassDef | None:
    """The definition of a class of the project, or of Lightning's Trainer."""
    if dotted == "Trainer":
        lightning = find_spec("lightning")
        assert lightning is not None
        assert lightning.origin is not None
        file = Path(lightning.origin).parent / "pytorch" / "trainer" / "trainer.py"
    else:
        file = ROOT.joinpath(*dotted.split(".")[:-1]).with_suffix(".py")
        if not file.is_file():
            return None
    name = dotted.rpartition(".")[2]
    return next((n for n in ast.parse(file.read_text()).body if isinstance(n, ast.ClassDef) and n.name == name), None)


@cache
def parameters(dotted: str) -> Mapping[str, str] | None:
    """Name -> annotation of what a class takes; ``None`` where its source is not looked at."""
    if (found := _source(dotted)) is None:
        return None
    bases = [known_classes().get(ast.unparse(base).rpartition(".")[2], "") for base in found.bases]
    inherited = {name: kind for base in bases if base for name, kind in (parameters(base) or {}).items()}
    start = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if start is None:
        fields = [n for n in found.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        own = {ast.unparse(n.target): ast.unparse(n.annotation) for n in fields if _is_dataclass(found)}
        return {**inherited, **own}
    arguments = [*start.args.posonlyargs, *start.args.args, *start.args.kwonlyargs][1:]
    own = {each.arg: ast.unparse(each.annotation) if each.annotation else "Any" for each in arguments}
    return {**inherited, **own} if start.args.kwarg else own


def _of_two_stage() -> set[str]:
    """What M7 has beyond the poster; it was in one class with it once."""
    classes = (known_classes()["TwoStageVAE"], known_classes()["TwoStageWeights"])
    return {name for dotted in classes for name in parameters(dotted) or {}}


def _is_dataclass(source: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(each) for each in source.decorator_list)


def _class_in(annotation: str) -> str | None:
    """The import path of the project's class that an annotation names."""
    if annotation == "Trainer":
        return annotation
    known = known_classes()
    returned = re.sub(r"Callable\[\[.*?\], ", "", annotation)  # what a factory makes
    names = [known[name] for name in re.findall(r"\w+", returned) if known.get(name, "").startswith(PACKAGES)]
    return names[0] if names else None


def short_name(dotted: str) -> str:
    """The short name of an allowed class, or the import path where it has none."""
    short = dotted.rpartition(".")[2]
    listed = known_classes().get(short, "") == dotted or (dotted.startswith("lightning.") and short in LIGHTNING)
    return short if listed else dotted


def _is_group(dotted: str) -> bool:
    """Whether the settings of a class stand without a ``class_path``: a dataclass, the data module, the Trainer."""
    source = _source(dotted)
    modules = [known_classes().get(name) for name in DATA_MODULES]
    return (source is not None and _is_dataclass(source)) or dotted in ("Trainer", *modules)


def data_module(name: str, where: str) -> str:
    """The name of a data module that a configuration may choose.

    Raises:
        UnknownSettingError: it may not.
    """
    short = short_name(import_path(name, f"{where}data.class_path: "))
    if short not in DATA_MODULES and short.partition(".")[0] not in more_packages():
        raise UnknownSettingError(f"{where}data.class_path is {name}; give one of {', '.join(DATA_MODULES)}")
    return short


def checked(
    content: Mapping[str, Any], before: Mapping[str, Any], where: str, data: str = DATA_MODULES[0]
) -> dict[str, Any]:
    """The settings of a file with the import paths of its classes.

    Args:
        content: the file's settings.
        before: those that it is laid over: a class may be named there.
        where: how a message begins: the file and a colon, or nothing.
        data: the data module.

    Raises:
        UnknownSettingError: a setting, a class or a value that there is not.
    """
    return _group(content, OF_THE_RUN | {"data": data}, before, where, "")


def _group(
    content: Mapping[str, Any], known: Mapping[str, str], before: Any, where: str, prefix: str
) -> dict[str, Any]:
    found = {}
    for key, value in content.items():
        name = str(key).removesuffix("+")
        path = f"{prefix}{name}"
        below = [f"{path}.{key}" for key in value] if isinstance(value, Mapping) else []
        for each in (path, *below):
            if new := RENAMED.get(each):
                raise UnknownSettingError(f"{where}the setting {each} is now {new}")
        if name not in known and path.startswith("model.") and name in _of_two_stage():
            raise UnknownSettingError(f"{where}the setting {path} is one of model.class_path: TwoStageVAE now")
        if name not in known:
            raise UnknownSettingError(
                f"{where}there is no setting {path!r}{nearest(path, (prefix + k for k in known))}"
            )
        old = before.get(name) if isinstance(before, Mapping) else None
        found[key] = _value(value, known[name], old, where, path)
    return found


def _value(value: Any, annotation: str, before: Any, where: str, path: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise UnknownSettingError(f"{where}{path} is {value}; it must be a finite number")
    if isinstance(value, list):
        return [_value(each, annotation, None, where, path) for each in value]
    own = _class_in(annotation)
    if isinstance(value, Mapping):
        if own and _is_group(own) and "class_path" not in value:
            return _group(value, parameters(own) or {}, before, where, f"{path}.")
        return _built(value, before, where, path)
    if isinstance(value, str) and (own or annotation in ("LightningModule", "Optimizer", "LRScheduler")):
        if (own and _is_group(own)) or value.endswith((".yaml", ".yml", ".json")):
            raise UnknownSettingError(f"{where}{path} is {value!r}; give a configuration file by --config")
        return import_path(value, f"{where}{path}: ")
    if isinstance(value, str) and path in BUILT_BY_THE_TRAINER and value not in PLAIN_FOR_THE_TRAINER:
        return import_path(value, f"{where}{path}: ")
    _check_plain(value, annotation, where, path)
    return value


def _built(value: Mapping[str, Any], before: Any, where: str, path: str) -> dict[str, Any]:
    """The settings of a class that ``class_path`` names, here or before; ``init_args`` may be left out."""
    old = before if isinstance(before, Mapping) else {}
    found = dict(value)
    name = value.get("class_path", old.get("class_path"))
    if not isinstance(name, str):
        if renamed := [each for key in value if (each := RENAMED_WITHOUT_CLASS.get(f"{path}.{key}"))]:
            raise UnknownSettingError(f"{where}the settings of {path} are now {renamed[0]}")
        return found
    dotted = import_path(name, f"{where}{path}: ")
    if "class_path" in value:
        found["class_path"] = dotted
    known = parameters(dotted)
    if known is None:
        return found
    short = {key: each for key, each in value.items() if key not in ("class_path", "init_args", "dict_kwargs")}
    found |= _group(short, known, old.get("init_args"), where, f"{path}.")
    if isinstance(arguments := value.get("init_args"), Mapping):
        found["init_args"] = _group(arguments, known, old.get("init_args"), where, f"{path}.")
    return found


def _check_plain(value: Any, annotation: str, where: str, path: str) -> None:
    """Refuse what is no number where one is asked, and no choice where there are some."""
    if isinstance(value, str) and "${" in value:
        return
    if annotation.startswith("Optional["):
        annotation = f"{annotation[len('Optional[') : -1]} | None"
    kind, optional = annotation.removesuffix(" | None"), annotation.endswith(" | None")
    if value is None or (optional and value == "null"):
        return
    if kind in ("int", "float"):
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or (kind == "int" and number != int(number)):
            what = "a whole number" if kind == "int" else "a finite number"
            raise UnknownSettingError(f"{where}{path} is {value!r}; it must be {what}")
        if wrong := fault(path, number):
            raise UnknownSettingError(f"{where}{wrong}")
    elif kind == "bool" and str(value).lower() not in ("true", "false"):
        raise UnknownSettingError(f"{where}{path} is {value!r}; it must be true or false")
    elif kind.startswith("Literal["):
        choices = ast.literal_eval(kind.removeprefix("Literal").replace("[", "(").replace("]", ",)"))
        if value not in choices:
            listed = ", ".join(map(str, choices))
            like = nearest(str(value), map(str, choices))
            raise UnknownSettingError(f"{where}{path} is {value!r}; it must be one of {listed}{like}")
