"""The pages and the API, and what hostile uploads get."""

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from develop.demo.photos import take_photos
from panorama.jobs import DONE, FAILED, Lease
from panorama.local_jobs import LocalJobs
from panorama.pictures import PANORAMA
from panorama.settings import Settings
from panorama.stores import open_jobs, open_pictures
from panorama.web import create_app

JPEG = b"\xff\xd8\xff\xe0 pixels"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, max_upload_mb=1, max_photos=4)


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    return create_app(settings).test_client()


def photos(*contents: bytes) -> dict[str, list[tuple[io.BytesIO, str]]]:
    return {"photos": [(io.BytesIO(content), f"{n}.jpg") for n, content in enumerate(contents)]}


def end_job(settings: Settings, **ended: object) -> Lease:
    store = open_jobs(settings)
    lease = store.take()
    assert lease
    store.finish(lease, replace(lease.job, **ended))  # type: ignore[arg-type]
    return lease


def test_upload_becomes_a_job_and_then_a_picture(settings: Settings, client: FlaskClient) -> None:
    answer = client.post("/api/panoramas", data=photos(JPEG, JPEG))
    assert answer.status_code == 202
    assert answer.json
    job_id, page = answer.json["id"], answer.json["url"]
    assert client.get(f"/api/panoramas/{job_id}").json["state"] == "queued"  # type: ignore[index]
    assert "Working on 2 photos" in client.get(page).text
    assert client.get(f"{page}.jpg").status_code == 404
    open_pictures(settings).put(job_id, PANORAMA, io.BytesIO(JPEG))
    end_job(settings, state=DONE, width=1400, height=500)
    assert "1400 × 500 pixels" in client.get(page).text  # noqa: RUF001
    with client.get(f"{page}.jpg") as picture:
        assert (picture.mimetype, picture.data) == ("image/jpeg", JPEG)
        assert picture.headers["X-Content-Type-Options"] == "nosniff"


def test_form_leads_to_the_page_of_its_job(client: FlaskClient) -> None:
    answer = client.post("/", data=photos(JPEG, JPEG))
    assert answer.status_code == 303
    assert client.get(answer.headers["Location"]).status_code == 200


def test_failed_job_tells_the_uploader_why(settings: Settings, client: FlaskClient) -> None:
    page = client.post("/", data=photos(JPEG, JPEG)).headers["Location"]
    end_job(settings, state=FAILED, error="cannot stitch: <b>they do not overlap</b>")
    text = client.get(page).text
    assert "Cannot stitch: &lt;b&gt;they do not overlap" in text


@pytest.mark.parametrize(
    ("contents", "message"),
    [((), "2 to 4 overlapping photos, not 0"), ((JPEG,), "not 1"), ((JPEG,) * 5, "not 5"),
     ((JPEG, b"I am no picture"), "1.jpg is not a JPEG or PNG"), ((JPEG, b""), "not a JPEG")],
)  # fmt: skip
def test_upload_that_cannot_be_used_is_told_so(
    client: FlaskClient, contents: tuple[bytes, ...], message: str
) -> None:
    answer = client.post("/api/panoramas", data=photos(*contents))
    assert answer.status_code == 400
    assert message in answer.json["error"]  # type: ignore[index]
    page = client.post("/", data=photos(*contents))
    assert page.status_code == 400
    assert message in page.text


def test_too_large_an_upload_is_refused_before_it_is_read(client: FlaskClient) -> None:
    answer = client.post(
        "/api/panoramas",
        content_type="multipart/form-data; boundary=x",
        environ_overrides={"CONTENT_LENGTH": str(2 * 1024**3)},
    )
    assert answer.status_code == 413
    assert answer.json == {
        "error": "That is too much: please send at most 1 MB in at most 4 photos."
    }


def test_upload_without_a_length_is_cut_where_the_limit_is(client: FlaskClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n' + JPEG
    answer = client.post(
        "/api/panoramas",
        input_stream=io.BytesIO(body + bytes(3_000_000)),
        content_type="multipart/form-data; boundary=x",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/panoramas/../jobs.sqlite", "/panoramas/" + "0" * 32, "/panoramas/" + "A" * 32,
     "/panoramas/%2e%2e%2fjobs.sqlite.jpg", "/api/panoramas/1", "/nowhere"],
)  # fmt: skip
def test_what_is_no_job_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_health_tells_the_version_and_fails_with_the_store(
    settings: Settings, client: FlaskClient, tmp_path: Path
) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "version": "0+source"})
    (tmp_path / "pictures").rmdir()
    (tmp_path / "pictures").write_text("a file in the folder's place")
    # Another worker, which has not asked the store yet.
    assert create_app(settings).test_client().get("/healthz").status_code == 503


def test_full_disk_is_a_clear_503_and_leaves_no_half_job(
    settings: Settings, client: FlaskClient, tmp_path: Path
) -> None:
    LocalJobs(tmp_path).check()
    (tmp_path / "pictures").write_text("no folder can be made here")
    answer = client.post("/api/panoramas", data=photos(JPEG, JPEG))
    assert answer.status_code == 503
    assert "try again soon" in answer.json["error"]  # type: ignore[index]
    assert open_jobs(settings).take() is None


def test_every_answer_forbids_what_no_page_needs(client: FlaskClient) -> None:
    for path in ("/", "/healthz", "/nowhere", "/static/style.css"):
        with client.get(path) as answer:
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_real_photos_are_accepted(client: FlaskClient, tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in take_photos(tmp_path, 2)]
    assert client.post("/api/panoramas", data=photos(*contents)).status_code == 202
    assert os.listdir(tmp_path / "pictures")  # noqa: PTH208
