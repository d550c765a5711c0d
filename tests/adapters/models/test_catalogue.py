"""The catalogue as it is shipped: whole, consistent, and readable by a route."""

from __future__ import annotations

import msgspec
import pytest

from adapters.models.catalogue import Cell, catalogue, explain, parse_catalogue
from agents.prompts.image_cost import max_image_tokens

CELLS = {
    (name, backend): cell
    for name, model in catalogue().models.items()
    for backend, cell in model.cells.items()
}
SMALL = """
[backends.ours]
title = "Ours"
kind = "local"
[models.one]
title = "One"
repository = "us/One"
architecture = "llama"
template = "chatml"
context_tokens = 2048
parameters = "1B"
licence = "MIT"
[models.one.cells]
ours = { status = "works", repository = "us/One-int4", source = "run" }
"""


def test_every_model_the_issue_names_is_there_on_every_backend() -> None:
    models, backends = catalogue().models, catalogue().backends

    assert len(models) == 14
    assert len(backends) == 14
    assert all(set(model.cells) == set(backends) for model in models.values())


def test_a_cell_says_what_to_load_or_why_not_and_what_instead() -> None:
    faulty = [name for name, cell in CELLS.items() if not is_complete(cell)]

    assert faulty == []


def is_complete(cell: Cell) -> bool:
    if (cell.retired_on is not None) != (cell.status == "retired") or not cell.source:
        return False
    if cell.usable:
        return bool(cell.repository or cell.id or cell.wheel or cell.note)
    return bool(cell.reason and cell.replacement)


def test_only_a_usable_cell_has_an_entry() -> None:
    has_entry = {name for name in CELLS if catalogue().entry(*name)}

    assert has_entry == {name for name, cell in CELLS.items() if cell.usable}


def test_a_replacement_is_a_cell_that_can_be_used() -> None:
    named = {cell.replacement for cell in CELLS.values() if cell.replacement}

    assert [str(each) for each in named if not CELLS[each.model, each.backend].usable] == []


def test_a_model_is_found_by_each_name_it_goes_by() -> None:
    known = catalogue()

    assert known.find("microsoft/Phi-3.5-mini-instruct") == "phi-3.5-mini"
    assert known.find("OpenVINO/Phi-3.5-mini-instruct-int4-ov") == "phi-3.5-mini"
    assert known.find("phi3.5:latest") == "phi-3.5-mini"
    assert known.find("phi3:medium") == "phi-3-medium-4k"
    assert known.find("microsoft/phi-4-mini-instruct") == "phi-4-mini"
    assert known.find("embedded") == "smollm2"
    assert known.find("gpt-5") is None
    assert "phi-3.5-mini" in known.close_to("phi3.5mini")


def test_a_local_route_gets_a_window_this_machine_can_read_and_no_more_than_the_model_has() -> None:
    known = catalogue()
    windows = {
        name: entry.capabilities.context_tokens
        for name in known.models
        if (entry := known.entry(name, "openvino"))
    }

    assert windows["phi-3.5-mini"] == 8192
    assert windows["phi-3-mini-4k"] == 4096
    assert windows["smollm2"] == 4096


def test_an_image_costs_at_most_what_its_crops_cost() -> None:
    vision = catalogue().entry("phi-3.5-vision", "onnx_genai")

    assert vision
    assert vision.capabilities.num_crops == 16
    assert vision.capabilities.image_tokens == max_image_tokens(16)
    assert vision.capabilities.max_images == 2


def test_a_retired_cell_explains_itself_with_its_date_and_its_successor() -> None:
    cell = CELLS["phi-3.5-moe", "github_models"]

    said = explain("phi-3.5-moe", "github_models", cell)

    assert "2026-07-30" in said
    assert "use phi-4 on foundry" in said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('status = "works"', 'status = "perhaps"'),
        ('source = "run"', 'source = "run", colour = "red"'),
        ("ours = {", "theirs = {"),
        ('template = "chatml"', 'template = "phi9"'),
        (', source = "run"', ""),
    ],
)
def test_a_mistake_in_the_file_is_refused(old: str, new: str) -> None:
    assert parse_catalogue(SMALL).models["one"].cells["ours"].repository == "us/One-int4"

    with pytest.raises(msgspec.ValidationError):
        parse_catalogue(SMALL.replace(old, new))
