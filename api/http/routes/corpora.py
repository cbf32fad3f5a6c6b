"""Routes of corpora: list and register."""

from typing import Annotated

from fastapi import APIRouter, Depends

from api.http import schemas
from api.http.dependencies import settings_of
from api.http.errors import error_responses
from api.jobs import admission
from api.settings import Settings
from telescope.client.resources import Corpus
from telescope.data import corpora
from telescope.errors import InvalidInput

router = APIRouter(prefix="/v1", responses=error_responses(500, 503))


@router.get("/corpora", tags=["corpora"])
def list_corpora() -> schemas.Corpora:
    """List the corpora that jobs can name in `data.corpus`, the built-in corpora first."""
    return schemas.Corpora(items=tuple(map(_corpus, corpora.available())))


@router.post(
    "/corpora", status_code=201, tags=["corpora"], responses=error_responses(400, 409, 413, 422)
)
def register_corpus(
    new: schemas.NewCorpus, settings: Annotated[Settings, Depends(settings_of)]
) -> Corpus:
    """Register a file or folder on the server as a corpus. Repeating a request changes nothing."""
    if not admission.is_open(new.path, settings.data_roots):
        raise InvalidInput.of("path", admission.path_remedy(settings.data_roots), new.path)
    return _corpus(corpora.register(new.name, new.path, new.text_field))


def _corpus(corpus: corpora.LocatedCorpus) -> Corpus:
    path = str(corpus.path) if corpus.path else None
    return Corpus(name=corpus.name, built_in=corpus.path is None, path=path)
