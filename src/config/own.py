"""Classes without a yaml of their own: ``model=my_nets.Gated``, ``model.net.class=my_nets.Gated``."""

from omegaconf import OmegaConf

from src.config import tree
from src.config.rules import arguments
from src.system.code import locate
from src.system.errors import UserError

KINDS = ("classifier", "regressor")
BASES = ("_torch", "_sklearn")  # what the yamls in conf/model/ build on


def expand(overrides) -> list:
    """Return the overrides with the dotted name of a class, model=my_nets.Gated, written out.

    >>> expand(["model=src.model.mlp.MLP", "seed=1"])
    ['model=_torch', '++model.net.class=src.model.mlp.MLP', 'seed=1']
    """
    expanded = []
    for text in overrides:
        group, _, value = text.partition("=") if isinstance(text, str) else ("", "", "")
        is_class = group.lstrip("+") == "model" and "." in value and not value.startswith("$")
        expanded += _of_class(value) if is_class else [text]
    return expanded


def for_hydra(overrides) -> list[str]:
    """Return checked overrides as Hydra takes them."""
    return list(map(tree.addable, expand(overrides)))


def _of_class(dotted: str) -> list[str]:
    """Return the yaml that every such class builds on, and its class."""
    if "," in dotted:
        raise UserError(f"model={dotted}: a sweep takes names of conf/model/, give your class a yaml there")
    parts = parts_of(locate(dotted), dotted)
    base = BASES[parts != ["net"]]
    return [f"model={base}", *(f"++model.{part}.class={dotted}" for part in parts)]


def parts_of(value, name: str) -> list[str]:
    """Return which keys of the model section ``value`` belongs to: ["net"], or kinds of an estimator.

    A function makes a net if it has an argument ``info``, else an estimator of both kinds.
    """
    if not isinstance(value, type):
        if not callable(value):
            raise UserError(f"model={name} is a {type(value).__name__}: it should be a class, or a function")
        return ["net"] if "info" in (arguments(name) or ()) else list(KINDS)
    bases = {base.__name__ for base in value.__mro__}
    if "LightningModule" in bases:
        advice = f"model=YourNet model.lit={name} if it is a subclass of src.model.lit.LitModel"
        raise UserError(f"model={name} is a LightningModule: name the nn.Module that it trains, {advice}")
    if "Module" in bases:
        return ["net"]
    if not hasattr(value, "fit") or not hasattr(value, "predict"):
        raise UserError(f"model={name} is neither a torch.nn.Module nor has it fit and predict")
    kinds = [kind for kind in KINDS if f"{kind.title()}Mixin" in bases]
    return kinds or list(KINDS)


def model_group(cfg: dict) -> str:
    """Return which file of ``conf/model/`` a config builds on."""
    model = cfg["model"]
    return BASES["net" not in model] if model["name"] == "???" else model["name"]


def adapt(cfg: dict) -> dict:
    """Return the config of one job; a class that is not the yaml's keeps only arguments that it takes.

    A model none of whose classes is the yaml's is called by its class.
    """
    if "model" not in cfg:  # a part of a config
        return cfg
    model, name = dict(cfg["model"]), cfg["model"]["name"]
    classes = {part: tree.get(model, f"{part}.class")[0] for part in ("net", *KINDS)}
    classes = {part: dotted for part, dotted in classes.items() if dotted}
    known = {} if name == "???" else _of_yaml(name)
    replaced = [part for part in classes if name == "???" or known[part] not in (None, classes[part])]
    if not replaced:
        return cfg
    shared = model.get("arguments") or {}
    for part in classes:
        spec = model[part] if part == "net" else shared | model[part]
        taken = arguments(classes[part]) if part in replaced else None
        model[part] = {key: x for key, x in spec.items() if taken is None or key in {"class", *taken}}
    if shared:
        model["arguments"] = {}
    if len(replaced) == len(classes):
        model["name"] = classes[replaced[0]].rpartition(".")[2]
    return cfg | {"model": model}


def _of_yaml(name: str) -> dict:
    """Return {"net": dotted name} of the classes that ``conf/model/<name>.yaml`` itself names."""
    found = {}
    for folder in (tree.CONF, *tree.own):
        path = folder / "model" / f"{name}.yaml"
        found |= OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {part: tree.get(found, f"{part}.class")[0] for part in ("net", *KINDS)}
