"""Pushing: a finished run as a repository on the hub, thin over huggingface_hub."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peftkit.errors import UserError
from peftkit.interop.card import CARD_FILE, card_of, finished, hub_base, unfit_for_the_hub
from peftkit.interop.folders import adapter_configs, folder_of_run
from peftkit.output import CHECKPOINTS, MANIFEST, TRACKED
from peftkit.record import content_of

LEFT_OUT = (CHECKPOINTS, MANIFEST, TRACKED)
"""What of a run's folder is of no use to others."""


def push(
    folder: str | Path, repo_id: str, *, private: bool = False, endpoint: str | None = None, token: str | None = None
) -> str:
    """Makes the repository if need be and uploads the run: what was trained, recipe, record, predictions, card.

    The card is the folder's own ``README.md`` where there is one, else made now. The adapter's configuration names its
    base as the hub does, not by the folder it was found in. By default `endpoint` and `token` are
    huggingface_hub's own.

    Returns:
        The repository's address.

    Raises:
        UserError: not a finished run, no token, a name that cannot be, or a hub that is out of reach or refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever of its versions the hub's library uses

    folder = folder_of_run(folder)
    finished(folder)
    if reason := unfit_for_the_hub(repo_id):
        raise UserError(f"{repo_id!r} cannot be a repository: {reason}")
    token = token or get_token()
    if token is None:
        raise UserError("no token for the hub: log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=endpoint, token=token, library_name="peftkit")
    try:
        with _staged(folder) as staged:
            address = api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=address.repo_id, folder_path=staged, commit_message="Run of peftkit")
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it") from None
    except HfHubHTTPError as error:
        raise UserError(f"{api.endpoint} refuses {repo_id!r}: {_one_line(error)}") from error
    except (httpx.HTTPError, ConnectionError) as error:
        raise UserError(f"{api.endpoint} is out of reach: {_one_line(error)}") from error
    return str(address)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder of links to what is uploaded, with the card and a configuration that others can follow."""
    with tempfile.TemporaryDirectory(prefix="peftkit-") as temporary:
        staged = Path(temporary)
        for file in folder.iterdir():
            if file.name not in LEFT_OUT and not file.name.startswith("."):
                _link(file, staged / file.name)
        if not (staged / CARD_FILE).exists():
            (staged / CARD_FILE).write_text(card_of(folder), encoding="utf-8")
        base = hub_base(finished(folder), folder)
        for config in adapter_configs(folder) if base is not None else ():
            content = content_of(config) | {"base_model_name_or_path": base}
            followed = staged / config.relative_to(folder)
            followed.unlink()
            followed.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        yield staged


def _link(file: Path, place: Path) -> None:
    """A link to `file`; for a folder one of its own with links in it."""
    if not file.is_dir():
        place.symlink_to(file.resolve())
        return
    place.mkdir()
    for inner in file.iterdir():
        _link(inner, place / inner.name)


def _one_line(error: BaseException) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
