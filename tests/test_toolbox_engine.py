"""A run as an engine of TIAToolbox: what it predicts, what it saves, and what it leaves alone."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import torch

from gimp_plugin import toolbox
from gimp_plugin.assembly.load import load_run
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.errors import (
    BagError,
    CheckpointError,
    CohortError,
    ConfigError,
    LockedError,
    MissingFileError,
    PairingError,
    ResourceError,
    SlideError,
    StaleOutputError,
)
from gimp_plugin.explain.attention import CLASSES
from gimp_plugin.prediction import extract_for, predict
from gimp_plugin.storage.bags import read_coords, read_features, read_info
from gimp_plugin.storage.locks import held_by_all
from gimp_plugin.storage.tables import read_csv
from tests.slide_readers import borrow
from tests.toolbox_factory import make_run, make_slides
from tests.toolbox_stores import left_open

pytestmark = [
    pytest.mark.tiatoolbox,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A run, its cohort, three slides of two of its cases, and their bags."""
    folder = tmp_path_factory.mktemp("toolbox")
    with pytest.MonkeyPatch.context() as patch:
        borrow(patch)
        run, source = make_run(folder)
        slides = make_slides(folder / "slides")
        runtime = Runtime(device="cpu")
        extract_for(run, list(slides.values()), output=folder / "bags", runtime=runtime)
    table = folder / "slides.csv"
    table.write_text("slide_id,case_id\nP00-a,P00\nP00-b,P00\nP01,P01\n")
    bags = {name: folder / "bags" / f"{name}.h5" for name in slides}
    return {"run": run, "adata": source.adata, "slides": slides, "bags": bags, "table": table}


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)


@pytest.fixture
def engine(study):
    """An engine of the run, with genes unless told otherwise."""

    def make(**named):
        usual = {"adata": study["adata"], "slide_table": study["table"]}
        return toolbox.GimpPredictor(model=study["run"], **{**usual, **named})

    return make


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def expected_rows(study):
    """What `gimp predict` says of the same bags."""
    source = CohortSource(
        adata=study["adata"], features=study["bags"]["P01"].parent, slide_table=study["table"]
    )
    predict(
        study["run"], source, output=Path("p.csv"), runtime=Runtime(device="cpu"), missing="drop"
    )
    return {row["case_id"]: row for row in read_csv(Path("p.csv"))}


def test_it_is_an_engine_of_tiatoolbox(engine):
    from tiatoolbox.models.engine.engine_abc import EngineABC

    assert isinstance(engine(), EngineABC)


def test_bags_get_the_probabilities_of_gimp_predict(study, engine):
    found = engine().run(list(study["bags"].values()))

    rows = expected_rows(study)
    assert found["slides"] == ["P00-a", "P00-b", "P01"]
    assert found["cases"] == ["P00", "P00", "P01"]
    for row, case_id in enumerate(found["cases"]):
        expected = [float(rows[case_id][f"prob_{name}"]) for name in found["classes"]]
        np.testing.assert_allclose(found["probabilities"][row], expected, atol=1e-9)
        predicted = found["classes"][found["predictions"][row]]
        assert predicted == rows[case_id]["predicted"]
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, atol=1e-12)


def test_attention_is_that_of_the_model_slide_by_slide(study, engine):
    bags = [read_info(study["bags"][name]) for name in ("P00-a", "P00-b")]

    found = engine().run(list(study["bags"].values()))

    _, model = load_run(study["run"])
    features = [torch.from_numpy(read_features(bag)) for bag in bags]
    _, expected = model.attend_slides(features, [bag.n_patches for bag in bags])
    both = np.concatenate(found["attention"][:2])
    np.testing.assert_allclose(both, expected.mean(dim=0) * len(both), rtol=1e-5, atol=1e-6)
    for row, bag in enumerate(bags):
        corners = read_coords(bag)
        np.testing.assert_array_equal(found["coordinates"][row][:, :2], corners)
        np.testing.assert_array_equal(found["coordinates"][row][:, 2:], corners + 256)


def test_slides_are_extracted_as_the_run_s_own_were_and_then_predicted(study, engine):
    from_bags = engine().run(list(study["bags"].values()))

    found = engine().run(list(study["slides"].values()))

    assert found["slides"] == from_bags["slides"]
    np.testing.assert_array_equal(found["probabilities"], from_bags["probabilities"])
    np.testing.assert_array_equal(
        np.concatenate(found["attention"]), np.concatenate(from_bags["attention"])
    )
    assert list(Path().iterdir()) == []


def test_an_open_reader_and_a_folder_of_bags_are_images_too(study, engine):
    from tiatoolbox.wsicore.wsireader import WSIReader

    reader = WSIReader.open(study["slides"]["P01"])

    one = engine().run([reader], features="kept", patch_mode=False)
    every = engine().run([study["bags"]["P01"].parent])

    assert one["slides"] == ["P01"]
    assert Path("kept/P01.h5").exists()
    assert every["slides"] == ["P00-a", "P00-b", "P01"]
    np.testing.assert_array_equal(one["probabilities"][0], every["probabilities"][2])


def test_an_anndata_in_memory_is_as_good_as_its_file(study, engine):
    expected = engine().run([study["bags"]["P01"]])

    found = engine(adata=anndata.read_h5ad(study["adata"])).run([study["bags"]["P01"]])

    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])


def test_without_genes_it_predicts_from_the_slides_alone(study, engine):
    with_genes = engine().run([study["bags"]["P01"]])

    found = engine(adata=None).run([study["bags"]["P01"]])

    assert np.abs(found["probabilities"] - with_genes["probabilities"]).max() > 1e-4
    np.testing.assert_array_equal(found["attention"][0], with_genes["attention"][0])


def test_zarr_holds_what_the_dictionary_holds(study, engine):
    import zarr

    images = list(study["bags"].values())
    expected = engine().run(images)

    path = engine().run(images, save_dir="out", output_type="zarr")

    found = zarr.open_group(path, mode="r")
    assert path == Path("out/output.zarr")
    assert found.attrs["slides"] == expected["slides"]
    assert found.attrs["cases"] == expected["cases"]
    np.testing.assert_array_equal(found["probabilities"][:], expected["probabilities"])
    np.testing.assert_array_equal(found["predictions"][:], expected["predictions"])
    for row, attention in enumerate(expected["attention"]):
        np.testing.assert_array_equal(found[f"attention/{row}"][:], attention)
        np.testing.assert_array_equal(found[f"coordinates/{row}"][:], expected["coordinates"][row])


def test_annotation_stores_hold_each_patch_with_its_attention(study, engine):
    from tiatoolbox.annotation.storage import SQLiteStore

    images = list(study["bags"].values())
    expected = engine().run(images)

    paths = engine().run(images, save_dir="out", output_type="annotationstore")

    assert paths == {name: Path(f"out/{name}.db") for name in expected["slides"]}
    for row, path in enumerate(paths.values()):
        store = SQLiteStore(path.absolute())
        found = [store[str(number)] for number in range(len(store))]
        store.close()
        bounds = [one.geometry.bounds for one in found]
        np.testing.assert_array_equal(bounds, expected["coordinates"][row])
        values = np.array([one.properties["attention"] for one in found], np.float32)
        np.testing.assert_array_equal(values, expected["attention"][row])
        scores = np.array([one.properties["score"] for one in found])
        assert scores.argmax() == values.argmax()
        assert 0 < scores.min() < scores.max() == 1
        for number, name in enumerate(expected["classes"]):
            probability = expected["probabilities"][row, number]
            assert found[0].properties[f"prob_{name}"] == probability


def test_geojson_has_what_qupath_reads(study, engine):
    images = [study["bags"]["P01"]]
    expected = engine().run(images)

    paths = engine().run(images, save_dir="out", output_type="qupath")

    collection = json.loads(paths["P01"].read_text())
    features = collection["features"]
    assert paths["P01"] == Path("out/P01.geojson")
    assert collection["type"] == "FeatureCollection"
    assert len(features) == len(expected["attention"][0])
    assert len({one["id"] for one in features}) == len(features)
    for one, box, attention in zip(
        features, expected["coordinates"][0], expected["attention"][0], strict=True
    ):
        left, top, right, bottom = box.tolist()
        (ring,) = one["geometry"]["coordinates"]
        assert (one["type"], one["geometry"]["type"]) == ("Feature", "Polygon")
        assert ring == [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        own = one["properties"]
        assert own["objectType"] == "tile"
        assert own["classification"]["name"].startswith("attention ")
        assert [0 <= part <= 255 for part in own["classification"]["color"]] == [True] * 3
        assert np.float32(own["measurements"]["attention"]) == attention
        assert set(own["measurements"]) == {
            "attention", "score", *(f"probability {name}" for name in expected["classes"])
        }  # fmt: skip


def test_the_same_images_give_the_same_bytes(study, engine):
    for name in ("one", "two"):
        engine().run([study["bags"]["P01"]], save_dir=name, output_type="qupath")

    assert snapshot(Path("one")) == snapshot(Path("two"))


def test_a_folder_of_the_user_keeps_what_is_in_it(study, engine):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    images = [study["bags"]["P01"]]

    engine().run(images, save_dir="mine", output_type="qupath")
    engine().run(images, save_dir="mine", output_type="zarr", overwrite=True)
    engine().run(images, save_dir="mine", output_type="qupath", overwrite=True)

    assert Path("mine/thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in Path("mine").iterdir()) == [
        "P01.geojson", "gimp_predictor.json", "output.zarr", "thesis.txt",
    ]  # fmt: skip


def test_outputs_of_before_are_replaced_only_on_request(study, engine):
    engine().run([study["bags"]["P01"]], save_dir="out", output_type="qupath")
    before = snapshot(Path("out"))

    with pytest.raises(StaleOutputError, match=r"'out' holds outputs of an earlier run: 'P01") as e:
        engine().run([study["bags"]["P01"]], save_dir="out", output_type="qupath")

    assert "overwrite=True" in e.value.hint
    assert snapshot(Path("out")) == before


def test_a_file_of_that_name_which_is_not_ours_is_never_replaced(study, engine):
    Path("out").mkdir()
    Path("out/P01.db").write_text("of somebody else")

    with pytest.raises(StaleOutputError, match=r"holds 'P01.db', which gimp did not write"):
        engine().run(
            [study["bags"]["P01"]], save_dir="out", output_type="annotationstore", overwrite=True
        )
    assert snapshot(Path("out")) == {"P01.db": b"of somebody else"}


def test_an_engine_that_fails_leaves_nothing_behind(study, engine, monkeypatch):
    made = engine()
    filters = logging.getLogger().filters[:]
    monkeypatch.setattr(type(made), "infer_patches", lambda *_a, **_n: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        made.run([study["bags"]["P01"]], save_dir="out", output_type="zarr")

    assert list(Path("out").iterdir()) == []
    assert logging.getLogger().filters == filters


def test_a_slide_that_cannot_be_read_does_not_stop_the_others(study, engine, caplog):
    Path("P02.svs").write_bytes(b"no slide at all")

    found = engine().run([Path("P02.svs"), study["slides"]["P01"]])

    assert found["slides"] == ["P01"]
    assert "1 slide failed, left out: 'P02'" in caplog.text


def test_a_slide_of_no_case_of_the_cohort_is_predicted_without_genes_and_told(
    study, engine, caplog
):
    table = Path("table.csv")
    table.write_text("slide_id,case_id\nP00-a,P00\nP01,stranger\n")

    bags = [study["bags"]["P00-a"], study["bags"]["P01"]]
    engine(slide_table=table).run(bags)

    assert "1 slide is of no case of the cohort" in caplog.text
    assert "without expression: 'P01'" in caplog.text


def test_a_device_that_is_refused_is_forgotten(study, engine):
    predictor, bag = engine(), study["bags"]["P01"]

    with pytest.raises(ConfigError, match="device"):
        predictor.run([bag], device="gpu")

    assert predictor.run([bag])["slides"] == ["P01"]


def test_a_link_of_the_users_that_leads_nowhere_is_left_alone(study, engine):
    Path("out").mkdir()
    Path("out/P01.geojson").symlink_to("nowhere")

    with pytest.raises(StaleOutputError, match=r"P01\.geojson"):
        engine().run([study["bags"]["P01"]], save_dir="out", output_type="qupath")

    assert Path("out/P01.geojson").is_symlink()


def test_a_slide_of_no_case_is_left_out_by_name(study, engine, caplog):
    Path("stranger.h5").write_bytes(study["bags"]["P01"].read_bytes())

    found = engine().run([Path("stranger.h5"), study["bags"]["P01"]])

    assert found["slides"] == ["P01"]
    assert "left out: 'stranger'" in caplog.text


def test_images_of_no_case_at_all_are_an_error(study, engine):
    Path("stranger.h5").write_bytes(study["bags"]["P01"].read_bytes())

    with pytest.raises(PairingError):
        engine().run([Path("stranger.h5")])


def test_two_bags_of_one_slide_are_refused(study, engine):
    Path("P01.h5").write_bytes(study["bags"]["P01"].read_bytes())

    with pytest.raises(BagError, match="two images are of slide 'P01'"):
        engine().run([Path("P01.h5"), study["bags"]["P01"]])


def test_a_missing_image_is_named(engine):
    with pytest.raises(MissingFileError, match=r"no slide or bag 'nowhere.svs'"):
        engine().run(["nowhere.svs"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_input_shape": [224, 224]}, "takes no 'patch_input_shape'"),
        ({"devise": "cpu"}, "takes no 'devise', did you mean 'device'"),
        ({"output_type": "zarrr"}, "output_type is 'zarrr', did you mean 'zarr'"),
        ({"output_type": "zarr"}, "output_type='zarr' needs a save_dir"),
    ],
)
def test_options_without_a_meaning_are_refused(study, engine, options, message):
    with pytest.raises(ConfigError, match=message):
        engine().run([study["bags"]["P01"]], **options)


def test_a_pretrained_run_and_one_of_genes_are_refused(study, monkeypatch):
    from dataclasses import replace

    record, model = load_run(study["run"])
    genes = replace(record.config, model=replace(record.config.model, modalities="genes"))
    for changed, message in (
        (replace(record, kind="pretrain"), "is a pretrain run: it has no trained classifier"),
        (replace(record, config=genes), "was trained on genes only"),
    ):
        monkeypatch.setattr(
            "gimp_plugin.assembly.load.load_run", lambda _path, one=changed: (one, model)
        )
        with pytest.raises(CheckpointError, match=message):
            toolbox.GimpPredictor(model=study["run"])


def test_the_tile_server_shows_the_attention(study, engine):
    from PIL import Image
    from tiatoolbox.annotation.storage import SQLiteStore
    from tiatoolbox.visualization.tileserver import TileServer

    paths = engine().run([study["bags"]["P01"]], save_dir="out", output_type="annotationstore")
    layers = {"slide": str(study["slides"]["P01"]), "attention": str(paths["P01"].absolute())}
    server = TileServer("attention", layers, renderer=toolbox.attention_renderer())
    client = server.test_client()

    def tile(layer, place):
        address = f"/tileserver/layer/{layer}/default/zoomify/TileGroup0/{place}@1x.jpg"
        answer = client.get(address)
        assert answer.status_code == 200
        (Path("tile")).write_bytes(answer.data)
        return np.asarray(Image.open("tile").convert("RGBA")).astype(int)

    store = SQLiteStore(paths["P01"].absolute())
    patches = [store[key] for key in store]
    store.close()
    low = tile("attention", "0-0-0")
    assert tile("slide", "0-0-0").std() > 1
    assert (low[..., 3] > 0).mean() > 0.1
    finest = server.pyramids["default"]["attention"].level_count - 1
    from matplotlib import colormaps

    for patch in (min(patches, key=lambda one: one.properties["score"]),
                  max(patches, key=lambda one: one.properties["score"])):  # fmt: skip
        x, y = (int(edge) for edge in patch.geometry.bounds[:2])
        found = tile("attention", f"{finest}-{x // 256}-{y // 256}")
        colour = np.array(colormaps["coolwarm"](patch.properties["score"])[:3]) * 255
        centre = found[128, 128]
        assert abs(centre[3] - 127) <= 2  # the tissue shows through
        assert np.abs(centre[:3] - colour).max() <= 12  # webp loses some
    with closing(sqlite3.connect(paths["P01"])) as unharmed:
        assert unharmed.execute("SELECT count(*) FROM annotations").fetchone()


@pytest.mark.parametrize("kind", ["annotationstore", "qupath"])
def test_the_viewer_loads_an_overlay_as_a_user_does(study, engine, kind):
    """The requests that `tiatoolbox visualize` makes."""
    from PIL import Image
    from tiatoolbox.visualization.tileserver import TileServer

    path = engine().run([study["bags"]["P01"]], save_dir="out", output_type=kind)["P01"]
    client = TileServer("viewer", {}).test_client()

    client.get("/tileserver/session_id")
    session = client.get_cookie("session_id").value
    client.put("/tileserver/slide", data={"slide_path": str(study["slides"]["P01"])})
    with left_open():
        client.put("/tileserver/overlay", data={"overlay_path": str(path.absolute())})
    names = client.get("/tileserver/prop_names/all").get_json(force=True)
    if kind == "annotationstore":
        types = client.get("/tileserver/prop_values/type/all").get_json(force=True)
        assert set(types) == {name for name, _ in CLASSES}
        assert {"type", "score", "attention", "predicted", "prob_LUAD", "prob_LUSC"} <= set(names)
        client.put("/tileserver/color_prop", data={"prop": json.dumps("score")})
    answer = client.get(f"/tileserver/layer/overlay/{session}/zoomify/TileGroup0/0-0-0@1x.jpg")

    Path("tile").write_bytes(answer.data)
    assert (np.asarray(Image.open("tile").convert("RGBA"))[..., 3] > 0).mean() > 0.1


def test_the_store_needs_no_extension_of_sqlite(monkeypatch):
    from tiatoolbox.annotation.storage import SQLiteStore

    from gimp_plugin.toolbox import stores

    class Bare:
        """A connection of a Python that was built without extensions."""

    monkeypatch.setattr(stores.sqlite3, "Connection", Bare)
    monkeypatch.setattr(SQLiteStore, "compile_options", staticmethod(lambda: 1 / 0))

    stores.let_sqlite_be()

    assert "ENABLE_RTREE" in SQLiteStore.compile_options()


@pytest.mark.parametrize("wrap", [str, Path, lambda path: iter([path])])
def test_one_image_is_as_good_as_a_list_of_one(study, engine, wrap):
    expected = engine().run([study["bags"]["P01"]])

    found = engine().run(wrap(study["bags"]["P01"]))

    np.testing.assert_array_equal(found["probabilities"], expected["probabilities"])


def test_a_lone_open_reader_is_an_image(study, engine):
    from tiatoolbox.wsicore.wsireader import WSIReader

    assert engine().run(WSIReader.open(study["slides"]["P01"]))["slides"] == ["P01"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images are given, expected slides"),
        (None, "images is NoneType, expected slides"),
        (np.zeros((2, 8, 8, 3)), "images is ndarray, expected slides"),
        ([np.zeros((8, 8, 3))], "one of the images is ndarray"),
        ([""], "one of the images is str ''"),
    ],
)
def test_what_is_no_image_is_refused(engine, images, message):
    with pytest.raises(ConfigError, match=message):
        engine().run(images)

    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("output_type", [None, 3, ""])
def test_what_is_no_type_of_output_is_refused(study, engine, output_type):
    with pytest.raises(ConfigError, match=r"output_type is .* 'qupath'"):
        engine().run([study["bags"]["P01"]], output_type=output_type)


def test_an_input_that_there_is_not_is_named_with_the_nearest(study, engine):
    with pytest.raises(ConfigError, match="takes no 'adate', did you mean 'adata'"):
        engine(adate="genes.h5ad")
    with pytest.raises(ConfigError, match=r"adata is int, expected an \.h5ad file or an AnnData"):
        engine(adata=7).run(study["bags"]["P01"])


def test_the_device_may_be_chosen_by_itself(study, engine, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    chosen = engine(device="auto")
    found = engine().run([study["bags"]["P01"]], device="auto")

    assert chosen.device == "cpu"
    assert found["slides"] == ["P01"]
    with pytest.raises(ResourceError, match="'cuda:1' is not available: torch sees 0"):
        engine(device="cuda:1")
    with pytest.raises(ConfigError, match="device is 'cuda:x', expected auto"):
        engine(device="cuda:x")


@pytest.fixture
def no_extraction(monkeypatch):
    """Fail where slides would be extracted."""
    monkeypatch.setattr("gimp_plugin.toolbox.bags.extract_for", lambda *_a, **_n: 1 / 0)


@pytest.mark.usefixtures("no_extraction")
def test_outputs_that_stand_in_the_way_are_told_before_slides_are_read(study, engine):
    Path("out").mkdir()
    Path("out/P01.geojson").write_text("of somebody else")
    Path("file").write_text("mine")
    before = snapshot(Path())
    images = {"images": [study["slides"]["P01"]], "output_type": "qupath"}

    for save_dir, kind, words in (
        ("out", StaleOutputError, "holds 'P01.geojson', which gimp did not write"),
        ("file", ConfigError, "save_dir 'file' is a file"),
        ("file/below", ResourceError, "cannot write in save_dir 'file/below'"),
        ("/proc/out", ResourceError, "cannot write in save_dir '/proc/out'"),
        ("", ConfigError, "needs a save_dir"),
    ):
        with pytest.raises(kind, match=words):
            engine().run(**images, save_dir=save_dir, overwrite=True)

    assert snapshot(Path()) == before


@pytest.mark.usefixtures("no_extraction")
def test_genes_and_tables_that_do_not_fit_are_told_before_slides_are_read(study, engine):
    adata = anndata.read_h5ad(study["adata"])
    few = adata[:, :5].copy()

    for inputs, kind in (
        ({"adata": few}, CohortError),
        ({"adata": "nowhere.h5ad"}, MissingFileError),
        ({"slide_table": "nowhere.csv"}, MissingFileError),
        ({"scale": "lgo"}, ConfigError),
    ):
        with pytest.raises(kind):
            engine(**inputs).run([study["slides"]["P01"]], save_dir="out")

    assert list(Path().iterdir()) == []


def test_a_bag_without_places_is_told_before_anything_is_drawn(study, engine):
    with h5py.File("P01.h5", "w") as file:
        file["features"] = read_features(read_info(study["bags"]["P01"]))

    with pytest.raises(BagError, match=r"P01\.h5"):
        engine().run(["P01.h5"], save_dir="out", output_type="qupath")

    assert not Path("out").exists()


def test_slides_that_cannot_be_read_are_named_with_the_reason(study, engine, caplog):
    Path("P02.svs").write_bytes(b"")

    with pytest.raises(SlideError, match=r"none of 1 slides could be read: 'P02' \(.*empty") as one:
        engine().run(["P02.svs"])
    engine().run(["P02.svs", study["slides"]["P01"]])

    assert "failures.csv" not in str(one.value)
    assert "1 slide failed, left out: 'P02' (" in caplog.text
    assert "empty" in caplog.text.partition("left out: ")[2]


@pytest.mark.parametrize("kind", ["qupath", "zarr", "annotationstore"])
def test_an_output_that_was_changed_since_is_never_replaced(study, engine, kind):
    images = [study["bags"]["P01"]]
    engine().run(images, save_dir="out", output_type=kind)
    engine().run(images, save_dir="out", output_type=kind, overwrite=True)
    if kind == "zarr":
        Path("out/output.zarr/notes.txt").write_text("mine")
    elif kind == "qupath":
        Path("out/P01.geojson").write_text("drawn for days")
    else:
        with closing(sqlite3.connect("out/P01.db")) as store:
            store.execute("DELETE FROM annotations WHERE id = 1")
            store.commit()
    before = snapshot(Path("out"))

    with pytest.raises(StaleOutputError, match=r"changed since gimp wrote it"):
        engine().run(images, save_dir="out", output_type=kind, overwrite=True)

    assert snapshot(Path("out")) == before


def test_a_store_that_was_only_looked_at_is_still_ours(study, engine):
    from tiatoolbox.annotation.storage import SQLiteStore

    images = [study["bags"]["P01"]]
    paths = engine().run(images, save_dir="out", output_type="annotationstore")
    written = paths["P01"].read_bytes()
    store = SQLiteStore(paths["P01"].absolute())
    list(store.query((0, 0, 900, 900)))
    store.close()

    engine().run(images, save_dir="out", output_type="annotationstore", overwrite=True)

    assert paths["P01"].read_bytes() == written


@pytest.mark.parametrize("text", ["[]", "{}", "noise", '{"format": "gimp.predictor"}'])
def test_a_list_of_outputs_that_is_not_ours_is_left_alone(study, engine, text):
    Path("out").mkdir()
    Path("out/gimp_predictor.json").write_text(text)

    with pytest.raises(StaleOutputError, match=r"gimp_predictor\.json' already exists and is not"):
        engine().run([study["bags"]["P01"]], save_dir="out", output_type="qupath", overwrite=True)

    assert snapshot(Path("out")) == {"gimp_predictor.json": text.encode()}


def test_what_a_killed_engine_left_goes_and_another_one_is_waited_for(study, engine):
    Path("out/.gimp-predictor/out").mkdir(parents=True)
    Path("out/.gimp-predictor/out/output.zarr").write_text("half")
    images = {"images": [study["bags"]["P01"]], "save_dir": "out"}

    with (
        held_by_all(Path("out/.gimp-predictor.lock"), "of another one"),
        pytest.raises(LockedError, match="another process is writing to 'out'"),
    ):
        engine().run(**images)
    assert Path("out/.gimp-predictor/out/output.zarr").read_text() == "half"
    engine().run(**images)

    assert {path.name for path in Path("out").iterdir()} == {"gimp_predictor.json", "output.zarr"}
