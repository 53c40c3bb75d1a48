"""The web application: takes uploads, shows results."""

import contextlib
import time
from pathlib import PurePath
from typing import IO, Any

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, ServiceUnavailable
from werkzeug.routing import BaseConverter

from panorama.build_info import VERSION
from panorama.errors import StoreError
from panorama.jobs import DONE, Job, JobStore
from panorama.pictures import PANORAMA, Pictures, photo_name
from panorama.settings import Settings
from panorama.stores import open_jobs, open_pictures

# What a JPEG and a PNG begin with (ITU T.81 B.1.1.3; PNG specification, 5.2).
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
MAX_NAME = 80  # characters of an uploader's file name that a message repeats

# Asking a queue costs money and time: however often health is asked for, the
# stores are asked no more often.
HEALTH_SECONDS = 5.0

# Nothing on a page comes from elsewhere, and nothing elsewhere may frame it.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

pages = Blueprint("pages", __name__)


class JobIdConverter(BaseConverter):
    """Matches what jobs.Job makes, and no path."""

    regex = "[0-9a-f]{32}"


class Studio:
    """What the pages need: the settings and the two stores."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs: JobStore = open_jobs(settings)
        self.pictures: Pictures = open_pictures(settings)
        self._checked_at = -HEALTH_SECONDS

    def check(self) -> None:
        """Raise StoreError if the stores do not answer; a good answer counts for a while."""
        if time.monotonic() - self._checked_at < HEALTH_SECONDS:
            return
        self.jobs.check()
        self.pictures.check()
        self._checked_at = time.monotonic()


def create_app(settings: Settings) -> Flask:
    """Make the application.

    Raises:
        StoreError: the settings name a store that cannot be.
    """
    app = Flask(__name__)
    app.extensions["studio"] = Studio(settings)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_mb * 1_000_000
    app.config["MAX_FORM_PARTS"] = settings.max_photos + 10
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 3600
    app.jinja_env.globals["version"] = VERSION
    app.url_map.converters["job"] = JobIdConverter
    app.register_blueprint(pages)
    app.register_error_handler(StoreError, _store_failed)
    app.register_error_handler(HTTPException, _explain)
    app.after_request(_add_headers)
    return app


def studio() -> Studio:
    found: Studio = current_app.extensions["studio"]
    return found


@pages.get("/")
def index() -> str:
    return render_template("index.html", settings=studio().settings)


@pages.post("/")
def upload_form() -> Any:
    job = _accept_upload()
    return redirect(url_for("pages.panorama", job_id=job.id), 303)


@pages.post("/api/panoramas")
def upload() -> Any:
    job = _accept_upload()
    return _describe(job), 202, {"Location": url_for("pages.state", job_id=job.id)}


@pages.get("/api/panoramas/<job:job_id>")
def state(job_id: str) -> dict[str, Any]:
    return _describe(_job(job_id))


@pages.get("/panoramas/<job:job_id>")
def panorama(job_id: str) -> str:
    return render_template("panorama.html", job=_job(job_id))


@pages.get("/panoramas/<job:job_id>.jpg")
def picture(job_id: str) -> Response:
    if _job(job_id).state != DONE:
        raise NotFound("this panorama is not there yet, or could not be made")
    file = studio().pictures.open(job_id, PANORAMA)
    return send_file(file, mimetype="image/jpeg", max_age=3600)


@pages.get("/healthz")
def health() -> Any:
    studio().check()
    return {"status": "ok", "version": VERSION}


def _accept_upload() -> Job:
    """Keep the photos of this request and queue a job."""
    photos = [photo for photo in request.files.getlist("photos") if photo.filename]
    most = studio().settings.max_photos
    if not 2 <= len(photos) <= most:
        raise BadRequest(
            f"Please send 2 to {most} overlapping photos, not {len(photos)} (form field: photos)."
        )
    for photo in photos:
        if not _is_picture(photo.stream):
            raise BadRequest(f"{_name(photo)} is not a JPEG or PNG picture.")
    job = Job(photos=len(photos), created=time.time())
    try:
        for number, photo in enumerate(photos, start=1):
            studio().pictures.put(job.id, photo_name(number), photo.stream)
        studio().jobs.add(job)
    except StoreError:
        # What the full disk refused is in the log; what it did take must not stay.
        with contextlib.suppress(StoreError):
            studio().pictures.forget(job.id)
        raise
    return job


def _is_picture(stream: IO[bytes]) -> bool:
    head = stream.read(max(map(len, MAGIC)))
    stream.seek(0)
    return head.startswith(MAGIC)


def _name(photo: FileStorage) -> str:
    return PurePath(photo.filename or "").name[:MAX_NAME]


def _job(job_id: str) -> Job:
    job = studio().jobs.get(job_id)
    if job is None:
        raise NotFound(
            f"There is no such panorama; they are kept {studio().settings.keep_days} days."
        )
    return job


def _describe(job: Job) -> dict[str, Any]:
    answer = {
        "id": job.id,
        "state": job.state,
        "stage": job.stage,
        "photos": job.photos,
        "created": job.created,
        "error": job.error,
        "width": job.width,
        "height": job.height,
        "url": url_for("pages.panorama", job_id=job.id),
    }
    if job.state == DONE:
        answer["picture"] = url_for("pages.picture", job_id=job.id)
    return answer


def _store_failed(error: StoreError) -> Any:
    current_app.logger.error("%s", error)
    return _explain(ServiceUnavailable("We cannot keep or find pictures just now; try again soon."))


def _explain(error: HTTPException) -> Any:
    """Answer an error as the client asked: JSON below /api and for health, else a page."""
    text = error.description or error.name
    if error.code == 413:
        megabytes, photos = studio().settings.max_upload_mb, studio().settings.max_photos
        text = f"That is too much: please send at most {megabytes} MB in at most {photos} photos."
    if request.path.startswith("/api/") or request.path == "/healthz":
        return {"error": text}, error.code
    page = render_template("index.html", settings=studio().settings, error=text)
    return page, error.code


def _add_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
