"""What schemathesis cannot know from a schema: how to log in, what a picture is, and whose account not to touch."""

import itertools
import os
import pathlib

import requests
import schemathesis
import schemathesis.transport.requests as transport

URL, NAME, PASSWORD = (os.environ[name] for name in ("UNIT_URL", "UNIT_NAME", "UNIT_PASSWORD"))
PICTURE = (pathlib.Path(__file__).parent.parent / "pictures" / "palette.png").read_bytes()
NUMBERS = itertools.count()


class Login:
    """A token of the account under test."""

    def get(self, case, context):
        answer = requests.post(URL + "/auth/token", json={"username": NAME, "password": PASSWORD}, timeout=20)
        answer.raise_for_status()
        return answer.json()["access_token"]

    def set(self, case, token, context):
        case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.auth(refresh_interval=600).skip_for(path="/auth/logout")
class Kept(Login):
    pass


# What logs out needs a token of its own.
@schemathesis.auth(refresh_interval=None).apply_to(path="/auth/logout")
class Fresh(Login):
    pass


@schemathesis.hook
def filter_case(context, case):
    """A part of a multipart body has no type: what is no array of files is one file, which fails alone with 201."""
    body = case.body
    multipart = case.media_type == "multipart/form-data" and isinstance(body, dict)
    return not multipart or isinstance(body.get("files", []), list)


# Schemathesis knows one kind of answer that does not end; moving pictures are another.
is_event_stream = transport.is_event_stream
transport.is_event_stream = lambda kind: is_event_stream(kind) or (kind or "").startswith("multipart/x-mixed-replace")


@schemathesis.hook
def before_call(context, case, kwargs):
    path, method = case.operation.path, case.operation.method.upper()
    spare_the_own_account(case, path, method)
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    # From here on: what a schema cannot say of data that shall be taken.
    if isinstance(case.body, dict):
        if case.media_type == "multipart/form-data":
            # No header holds a name with control characters.
            case.body = {name: value for name, value in case.body.items() if name.isprintable()}
        for name, picture in ("file", PICTURE), ("files", [PICTURE]):
            if name in case.body:
                case.body = {**case.body, name: picture}
        if path.startswith("/api/users"):
            users(case)
    elif case.media_type == "image/*":
        case.body = PICTURE
    order(case, path)
    if path.endswith("/infer") and case.headers:
        # It says where the JSON ends.
        for name in [name for name in case.headers if name.lower() == "inference-header-content-length"]:
            del case.headers[name]
    # What was changed here stays data that shall be taken: schemathesis would take a picture's bytes for a mistake.
    case._record_starting_state()


def spare_the_own_account(case, path, method):
    """Whoever is locked out tests nothing more."""
    if path == "/api/users/{name}" and method in ("PATCH", "DELETE"):
        if str(case.path_parameters.get("name", "")).lower() == NAME:
            case.path_parameters = {**case.path_parameters, "name": "somebody-else"}


def users(case):
    """Passwords must not be guessed first; a change must change something."""
    body = dict(case.body)
    if body.get("password") is not None:
        body["password"] = f"nobody would guess {next(NUMBERS)}"
    if case.operation.method.upper() == "PATCH":
        if body.get("password") is None:
            body.pop("must_change_password", None)
        if all(value is None for value in body.values()):
            body["enabled"] = True
    elif str(body.get("name", "")).lower() == "me":
        body["name"] = "you"
    case.body = body


def order(case, path):
    """`from` lies before `to`, and a range of counts is bounded."""
    query = dict(case.query or {})
    if "from" not in query and "to" not in query:
        return
    if query.get("from") is not None:
        query["from"] = "2026-05-01T00:00:00Z"
    if query.get("to") is not None:
        query["to"] = "2026-05-01T06:00:00Z"
        if path == "/api/traffic/counts":
            query["from"] = "2026-05-01T00:00:00Z"
    elif path == "/api/traffic/counts":
        query["interval"] = "1d"
    case.query = query
