import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from peftkit.capabilities import setting_aside
from peftkit.errors import RecipeErrors, UserError
from peftkit.methods import METHODS
from peftkit.recipe import Recipe, load_recipe, schema, shipped
from peftkit.recipe.groups import Training
from peftkit.recipe.reading import dump_yaml, parse_yaml
from peftkit.tasks import TASKS
from tests.conftest import BY_NAME

SHORT = "model: m\nmethod: lora\ntask: text-classification\ndata: rows\n"
LONG = "model: {name: m}\nmethod: {name: lora}\ntask: {name: text-classification}\ndata: {source: rows}\n"
DOCUMENT = {"model": "m", "method": "lora", "task": "text-classification", "data": "rows"}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A recipe of a few lines, told by what it adds to the shortest one; read under the name r.yaml."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, *overrides: str, base: str = SHORT) -> Recipe:
        Path("r.yaml").write_text(base + text, encoding="utf-8")
        return load_recipe("r.yaml", overrides)

    return write


def errors(write: Any, *args: str, **options: str) -> list[str]:
    """The lines of a refusal."""
    with pytest.raises(UserError) as refused:
        write(*args, **options)
    return str(refused.value).splitlines()


# --- YAML 1.2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written_as, value",
    [
        *[("1e-4", 1e-4), ("1E-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("+3", 3), ("017", 17), ("0o17", 15), ("0x1F", 31)],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("", None)],
    ],
)
def test_scalars_are_those_of_yaml_1_2(written_as, value):
    (found,) = parse_yaml(f"key: {written_as}", "r.yaml")[0].values()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["off", "no", "yes", "on", "y", "2020-01-01", "1:30", "1_000", "0b1", "1e", "2.0.0"])
def test_what_only_older_yaml_reads_as_something_else_stays_text(text, written):
    assert parse_yaml(f"key: {text}", "r.yaml")[0] == {"key": text}
    assert written(f"training: {{report_to: [{text}]}}").training.report_to == [text]


@pytest.mark.parametrize(
    "text, line",
    [
        ("seed: 1\nseed: 2\n", 6),
        ("training:\n  epochs: 1\n  epochs: 2\n", 7),
        ("seed: [\n", 6),
        ("\tseed: 1\n", 5),
        ("---\nseed: 1\n", 5),
        ("seed: !tagged 1\n", 5),
        ("training: !!python/object {}\n", 5),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(text, line, written):
    (told,) = errors(written, text)
    assert told.startswith(f"r.yaml:{line}: ")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "words\n"])
def test_a_file_that_is_no_mapping_is_refused(text, written):
    assert errors(written, text, base="")[0].startswith("r.yaml:1: expected a mapping")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_bytes(b"model: \xff\n")
    assert errors(load_recipe, str(file)) == [f"{file}: cannot be read: not UTF-8 text"]


def test_anchors_and_merged_keys_are_read_and_their_mistakes_placed(written):
    assert written("training: {<<: {epochs: 2}, batch_size: 4}").training == Training(epochs=2, batch_size=4)
    (told,) = errors(written, "training:\n  <<: {epohcs: 2}\n  batch_size: 4\n")
    assert told.startswith("r.yaml:5: training.epohcs: unknown key, did you mean epochs?")


# --- Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, place, near",
    [
        ("sed: 1", "r.yaml:5: sed", "seed"),
        ("training:\n  learning_rte: 1e-4", "r.yaml:6: training.learning_rte", "learning_rate"),
        ("quantization: {bit: 4, bits: 4}", "r.yaml:5: quantization.bit", "bits"),
    ],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest(text, place, near, written):
    (told,) = errors(written, text)
    assert told.startswith(f"{place}: unknown key, did you mean {near}? (allowed: ")


@pytest.mark.parametrize("key", ["model.nmae", "method.nmae", "task.nmae", "data.soruce"])
def test_an_unknown_key_in_every_group_is_told_with_the_nearest(key, written):
    (told,) = errors(written, "", f"{key}=x")
    assert told.startswith(f"command line: {key}: unknown key, did you mean {'source' if 'data' in key else 'name'}?")


def test_all_mistakes_are_told_at_once_a_line_each(written):
    text = "quantization: {bits: 5}\nsed: 1\ntraining:\n  epochs: often\n  batch_size: 1.5\n  report_to: [1, tb, 2]\n"
    told = errors(written, text, "method=lroa", "data.train=", "seed=-1")
    places = {" ".join(line.split(": ")[:2]) for line in told}
    assert len(told) == len(places) == 9 and places == {
        "r.yaml:5 quantization.bits",
        "r.yaml:6 sed",
        "r.yaml:8 training.epochs",
        "r.yaml:9 training.batch_size",
        "r.yaml:10 training.report_to.0",
        "r.yaml:10 training.report_to.2",
        "command line method",
        "command line data.train",
        "command line seed",
    }


@pytest.mark.parametrize("group", ["model", "method", "task", "data"])
def test_a_missing_group_is_told(group, written):
    base = "".join(line for line in SHORT.splitlines(keepends=True) if not line.startswith(group))
    assert errors(written, "", base=base) == [f"r.yaml:1: {group}: required, and not there"]


@pytest.mark.parametrize(
    "override, told",
    [
        ("training.epochs='5'", "expected a number, given '5'"),
        ("training.epochs=true", "expected a number, given true"),
        ("training.batch_size='8'", "expected a whole number, given '8'"),
        ("training.batch_size=true", "expected a whole number, given true"),
        ("training.batch_size=3.5", "expected a whole number, given 3.5"),
        ("training.batch_size=0", "should be greater than 0, given 0"),
        ("training.gradient_checkpointing=yes", "expected true or false, given 'yes'"),
        ("training.gradient_checkpointing=1", "expected true or false, given 1"),
        ("training.learning_rate=.nan", "should be a finite number, given nan"),
        ("training.learning_rate=.inf", "should be a finite number, given inf"),
        ("training.learning_rate=-.inf", "should be a finite number, given -inf"),
        ("training.report_to=wandb", "expected a list, given 'wandb'"),
        ("training=", "expected keys below it, given nothing"),
        ("model.revision=12345", "expected text, given 12345 (in quotes it is text)"),
        ("model.dtype=bf16", "expected one of float32, bfloat16, float16, given 'bf16', did you mean bfloat16?"),
        ("method.r='16'", "expected a whole number, given '16'"),
        ("method.lora_alpha='16'", "expected a number, given '16'"),
        ("method.use_dora=yes", "expected true or false, given 'yes'"),
        ("method.target_modules=3", "expected text, or a list, given 3 (in quotes it is text)"),
        ("method.init_lora_weights=pisa", "did you mean pissa?"),
        ("method.rank_pattern={q: '3'}", "expected a whole number, given '3'"),
        ("method.layers_to_transform=[1.0]", "expected a whole number, given 1.0"),
        ("data.validation=10", "expected text, given 10 (in quotes it is text)"),
        ("data.validation=-3%", "expected a name, or a share such as 10%, given '-3%'"),
        ("data.source=3", "expected text, or a list, or keys below it, given 3 (in quotes it is text)"),
        ("quantization=5bit", "unknown quantization '5bit'"),
        ("quantization=4", "unknown quantization '4' (allowed: 4bit, 8bit, none)"),
        ("quantization={bits: 8, double: true}", "double: for 4-bit quantization only"),
        ("seed=1e3", "expected a whole number, given 1000.0"),
        ("seed=4294967296", "should be less than 4294967296"),
    ],
)
def test_a_wrong_type_is_never_converted_and_the_line_says_what_is_right(override, told, written):
    (line,) = errors(written, "", override)
    assert line.startswith("command line: ") and told in line


@pytest.mark.parametrize(
    "key, kind, given, near",
    [
        ("method", "method", "adlora", "adalora"),
        ("task", "task", "text-clasification", "text-classification"),
        ("training.metric_for_best_model", "metric", "macrof1", "macro_f1"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_and_what_is_allowed(key, kind, given, near, written):
    (told,) = errors(written, "", f"{key}={given}")
    assert told.startswith(f"command line: {key}: unknown {kind} {given!r}, did you mean {near}? (allowed: ")


def test_a_method_without_a_name_is_told(written):
    assert errors(written, "", "method={r: 8}")[0].startswith("command line: method: needs a name (allowed: adalora,")


def test_full_on_a_quantized_base_is_refused_naming_what_works(written):
    (told,) = errors(written, "quantization: 4bit\n", "method=full")
    assert told.startswith("r.yaml:5: quantization: method full trains the base itself")
    assert all(name in told for name, method in METHODS.items() if method.quantizable)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
@pytest.mark.parametrize("method", BY_NAME)
def test_every_method_but_those_that_train_the_base_may_be_quantized(method, quantization):
    def build() -> Recipe:
        return Recipe(**DOCUMENT | {"method": method, "quantization": quantization})

    if METHODS[method].quantizable:
        assert build().quantization.bits == int(quantization[0])
    else:
        with pytest.raises(ValidationError):
            build()


def test_everything_that_does_not_go_together_is_told_at_once(written):
    overrides = ["training.gradient_checkpointing=true", "training.metric_for_best_model=acuracy"]
    told = errors(written, "method: prefix-tuning\n", *overrides, base=SHORT.replace("method: lora\n", ""))
    assert [line.split(": ")[1] for line in told] == [override.split("=")[0] for override in overrides]


@pytest.mark.parametrize(
    "training", ["{eval_strategy: steps}", "{eval_steps: 5}", "{eval_strategy: 'no', early_stopping_patience: 1}"]
)
def test_half_told_evaluation_is_refused(training, written):
    assert errors(written, f"training: {training}")[0].startswith("r.yaml:5: training: e")


# --- Forms and overrides ---------------------------------------------------------------------------------------------


def test_short_and_long_forms_and_spelled_out_defaults_are_one_recipe(written):
    spelled = Recipe(**DOCUMENT).model_dump(mode="json")
    recipes = [
        written("", base=SHORT),
        written("", base=LONG),
        written("quantization: none\nseed: 0\ntraining: {epochs: 3}\n", base=LONG),
        written("", base=dump_yaml(spelled)),
        Recipe(**DOCUMENT),
        Recipe(**spelled),
    ]
    assert len({recipe.hash for recipe in recipes}) == 1 and all(recipe == recipes[0] for recipe in recipes)
    assert len(set(recipes)) == 1


@pytest.mark.parametrize("short, long", [("4bit", "{bits: 4, type: nf4, double: false}"), ("8bit", "{bits: 8}")])
def test_the_short_forms_of_quantization(short, long, written):
    one, other = written(f"quantization: {short}"), written(f"quantization: {long}")
    assert one == other and one.hash == other.hash
    assert f"quantization: {short}\n" in other.to_yaml()
    assert Recipe(**one.model_dump()) == one


def test_the_hash_tells_every_setting_apart(written):
    overrides = [
        "seed=1",
        "training.epochs=4",
        "method.r=9",
        "quantization=4bit",
        "data.train=all",
        "model.dtype=float16",
    ]
    hashes = [written("", override).hash for override in overrides]
    assert len({written("").hash, *hashes}) == len(overrides) + 1


def test_the_hash_is_the_same_in_every_process(written):
    recipe = written("quantization: 4bit\n")
    code = "import peftkit; print(peftkit.load_recipe('r.yaml').hash)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == recipe.hash


def test_overrides_are_laid_over_the_file_and_later_ones_win(written):
    recipe = written("training: {epochs: 2, batch_size: 4}\n", "training.epochs=5", "method.r=16", "training.epochs=7")
    assert recipe.training == Training(epochs=7, batch_size=4) and recipe.method.r == 16
    recipe = written("", "method.r=16", "method=adalora", "data={source: other, train: all}", "data.source=third")
    assert recipe.method.name == "adalora" and (recipe.data.source, recipe.data.train) == ("third", "all")


@pytest.mark.parametrize(
    "text, override, quantization",
    [
        ("quantization: 4bit", "quantization.double=true", {"bits": 4, "double": True}),
        ("quantization: 8bit", "quantization=none", None),
        ("quantization: none", "quantization.bits=8", {"bits": 8}),
        ("", "quantization.bits=4", {"bits": 4}),
    ],
)
def test_a_field_of_a_short_form_may_be_overridden(text, override, quantization, written):
    assert written(text, override) == Recipe(**DOCUMENT, quantization=quantization)


def test_a_mistake_of_an_override_says_command_line_and_others_their_line(written):
    told = errors(written, "training:\n  epochs: 1\n  batch_size: x\n", "training.epochs=x", "extra.key=1")
    assert [line.split(": ")[:2] for line in told] == [
        ["command line", "training.epochs"],
        ["r.yaml:7", "training.batch_size"],
        ["command line", "extra"],
    ]
    told = errors(written, "", "method={name: adalora, r: 3}", base=LONG.replace("lora}", "lora,\n  r: 2}"))
    assert told[0].startswith("command line: method.r: unknown key")


@pytest.mark.parametrize(
    "override", ["training.epochs", "=3", "training..epochs=3", "seed=[", "model.name.x=1", "seed=*a"]
)
def test_an_override_that_cannot_be_read_is_one_line(override, written):
    (told,) = errors(written, "", override)
    assert told.startswith(f"command line: {override!r}: ")


# --- Round trip ------------------------------------------------------------------------------------------------------

AWKWARD = [
    "off",
    "no",
    "null",
    "~",
    "1e-4",
    "017",
    "0o17",
    "1_000",
    "2020-01-01",
    "true",
    "1.0",
    ".nan",
    "<<",
    "=",
    "-",
]
AWKWARD += [
    "a: b",
    "a #b",
    "#a",
    " a ",
    "'",
    '"',
    "[a]",
    "{a: b}",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "a\nb",
    "tab\there",
    "|",
]
AWKWARD += ["\u2028", "é 漢 🙂", "\x07", "word " * 60 + "end", "C:\\temp\\new", "---", "..."]


@pytest.mark.parametrize("text", AWKWARD)
def test_any_text_survives_the_round_trip(text, written):
    recipe = Recipe(**DOCUMENT | {"model": {"name": text}, "data": {"source": {text: text}, "config": text}})
    again = written("", base=recipe.to_yaml())
    assert again == recipe and again.hash == recipe.hash


def some_recipe(draw: random.Random) -> Recipe:
    """A recipe with a random handful of settings away from their defaults."""
    method = draw.choice(
        [
            *("full", "head", "prefix-tuning"),
            {"name": "lora", "r": draw.randint(1, 64), "target_modules": ["q", "v"]},
            {"name": "lora", "init_lora_weights": draw.choice([True, False, "gaussian"]), "rank_pattern": {"a.b": 3}},
            {"name": "adalora", "target_r": 2, "beta1": draw.uniform(0.1, 0.9)},
            {"name": "bottleneck", "variant": "houlsby", "reduction_factor": draw.choice([1, 2.5])},
        ]
    )
    quantization = draw.choice(["none", "4bit", "8bit", {"bits": 4, "type": "fp4", "compute_dtype": "bfloat16"}])
    training = {
        "epochs": draw.choice([0.1, 1, 3, 1e3]),
        "learning_rate": draw.choice([None, 1e-4, draw.uniform(1e-7, 1)]),
        "max_steps": draw.choice([None, 1, 10**9]),
        "adam_epsilon": draw.choice([1e-8, 1e-12]),
        "report_to": draw.choice([[], ["tensorboard", "off"]]),
    }
    source = draw.choice(["builtin:x", "a/b", ["a.csv", "b.csv"], {"train": "a", "test": "b"}])
    return Recipe(
        model=draw.choice(["m", {"name": "m", "revision": "1e4", "dtype": "bfloat16"}]),
        quantization=None if method == "full" else quantization,
        method=method,
        task=draw.choice(["text-classification", {"name": "text-classification", "text_pair": "b"}]),
        data=draw.choice([{"source": source}, {"source": source, "validation": "12.5%", "max_train_samples": 5}]),
        training={name: value for name, value in training.items() if draw.random() < 0.5},
        seed=draw.choice([0, 1, 2**32 - 1]),
    )


@pytest.mark.parametrize("number", range(40))
def test_to_yaml_reads_back_as_the_same_recipe(number, written):
    recipe = some_recipe(random.Random(number))
    again = written("", base=recipe.to_yaml())
    assert again == recipe and again.hash == recipe.hash and again.to_yaml() == recipe.to_yaml()


@pytest.mark.parametrize("method", BY_NAME)
@pytest.mark.parametrize("task", TASKS)
def test_the_shortest_recipe_of_every_method_and_task_is_four_lines(method, task, written):
    text = f"model: m\nmethod: {method}\ntask: {task}\ndata: rows\n"
    with setting_aside():  # some of them work on no base
        assert written("", base=text).to_yaml() == text


def test_a_recipe_is_frozen_and_tells_where_it_was_written(written):
    recipe = written("training:\n  epochs: 2\n", "seed=1")
    for change in (recipe, "seed", 2), (recipe.training, "epochs", 5.0), (recipe.method, "r", 4):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(*change)
    assert recipe.place(("training", "epochs")) == "r.yaml:6"
    assert recipe.place(("training", "max_length")) == "r.yaml:5"
    assert recipe.place(("seed",)) == "command line" and recipe.place(("quantization",)) == "r.yaml:1"
    assert Recipe(**DOCUMENT).place(("seed",)) == ""


# --- Finding ---------------------------------------------------------------------------------------------------------


def test_every_shipped_recipe_is_found_by_name_and_is_right():
    files = sorted(Path(__file__).parents[1].glob("recipes/**/*.yaml"))
    assert len(shipped()) == len(files) > 0
    for name, path in shipped().items():
        recipe = load_recipe(name)
        assert recipe == load_recipe(path) == load_recipe(f"peftkit:{name}")
        jsonschema.validate(parse_yaml(path.read_text(), "")[0], schema(), jsonschema.Draft202012Validator)


def test_recipes_of_another_package_are_found_without_importing_it(tmp_path, monkeypatch):
    for package, init in (("withinit", "raise RuntimeError"), ("without", None)):
        shelf = tmp_path / package / "recipes" / "folder"
        shelf.mkdir(parents=True)
        (shelf / "own.yaml").write_text(SHORT)
        (shelf.parent / "other.yaml").write_text(LONG)
        if init:
            (tmp_path / package / "__init__.py").write_text(init)
    (tmp_path / "module.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for package in "withinit", "without":
        assert load_recipe(f"{package}:folder/own") == load_recipe(f"{package}:other") == Recipe(**DOCUMENT)
        (told,) = errors(load_recipe, f"{package}:otter")
        assert told.startswith(f"no recipe named '{package}:otter', did you mean other? (there are: folder/own, other;")
    for package in "module", "nowhere", "not-a-name", "":
        assert "no such Python package" in errors(load_recipe, f"{package}:own")[0]


@pytest.mark.parametrize("name", ["nowhere.yaml", "folder/nowhere.yml"])
def test_a_missing_file_is_told_with_what_is_shipped(name):
    (told,) = errors(load_recipe, name)
    assert told.startswith(f"{name}: no such file") and all(there in told for there in shipped())


def test_a_near_miss_of_a_shipped_name_is_told():
    name = next(iter(shipped()))
    assert errors(load_recipe, name[:-1])[0].startswith(f"no recipe named {name[:-1]!r}, did you mean {name}?")
    assert f"did you mean {name}?" in errors(load_recipe, f"{name[:-1]}.yaml")[0]


def test_several_mistakes_keep_their_lines(written):
    with pytest.raises(RecipeErrors) as refused:
        written("sed: 1\ntrainig: 2\n")
    assert len(refused.value.lines) == 2


# --- Schema and speed ------------------------------------------------------------------------------------------------

GOOD: list[dict[str, Any]] = [
    {},
    {"quantization": "4bit", "seed": 3},
    {"quantization": None},
    {"quantization": {"bits": 4, "double": True}},
    {"method": {"name": "lora", "r": 4, "target_modules": ["q"]}},
    {"method": "adalora", "task": {"name": "text-classification", "text": "t"}},
    {"data": {"source": {"train": "a.csv"}, "validation": "10%"}},
    {"data": {"source": ["a.csv"]}, "model": {"name": "m", "dtype": "bfloat16"}},
    {"training": {"epochs": 1, "learning_rate": 1e-4, "report_to": ["wandb"]}},
]
BAD: list[dict[str, Any]] = [
    {"sed": 1},
    {"model": {"name": "m", "dtpe": "float32"}},
    {"model": {}},
    {"quantization": "5bit"},
    {"quantization": {"bits": 4, "doubel": True}},
    {"method": "lroa"},
    {"method": {"r": 4}},
    {"method": {"name": "lora", "init_r": 4}},
    {"method": {"name": "adalora", "r": 4}},
    {"method": {"name": "lora", "r": "4"}},
    {"task": {"name": "text-classification", "txt": "t"}},
    {"data": {"validation": "10%"}},
    {"data": {"source": "a", "validation": "-3%"}},
    {"training": {"epoch": 1}},
    {"training": {"batch_size": 1.5}},
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_the_schema_accepts_what_the_recipe_accepts(change, validator, written):
    validator.validate(DOCUMENT | change)
    written("", base=dump_yaml(DOCUMENT | change))


@pytest.mark.parametrize("change", BAD, ids=str)
def test_the_schema_refuses_what_the_recipe_refuses(change, validator, written):
    assert not validator.is_valid(DOCUMENT | change)
    assert errors(written, "", base=dump_yaml(DOCUMENT | change))


@pytest.mark.parametrize("number", range(10))
def test_the_schema_accepts_what_to_yaml_writes(number, validator):
    validator.validate(parse_yaml(some_recipe(random.Random(number)).to_yaml(), "r.yaml")[0])


def test_a_recipe_is_loaded_and_refused_within_a_second_and_without_torch(tmp_path):
    (tmp_path / "good.yaml").write_text(SHORT)
    (tmp_path / "bad.yaml").write_text(SHORT + "sed: 1\n")
    code = (
        "import sys, peftkit; peftkit.load_recipe('good.yaml').to_yaml()\n"
        "from peftkit.recipe import schema; schema()\n"
        "try: peftkit.load_recipe('bad.yaml')\n"
        "except peftkit.UserError: pass\n"
        "print(*{'torch', 'transformers', 'peft', 'datasets', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    seconds = []
    for _ in range(3):  # the first may compile bytecode
        started = time.perf_counter()
        loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path).split()
        seconds.append(time.perf_counter() - started)
        assert loaded == []
    assert min(seconds) < 1
