# telescope in one image: docker-compose.yml runs its api, coordinator, migration and every Ray process from it. One image, because
# the corpus python-stdlib is the interpreter's own source code and must be the same text in every process.
#
#   docker build -t telescope .
#
# torch comes from pip's default index unless told otherwise. A smaller image without CUDA, or one for another CUDA version:
#
#   docker build -t telescope --build-arg PIP_EXTRA_INDEX_URL=<the index of the torch build that you want> .

FROM python:3.11-slim

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1 \
    TELESCOPE_HOME=/var/lib/telescope \
    RAY_USAGE_STATS_ENABLED=0

# The folder exists with its owner, so that a volume mounted there for the first time takes both over.
RUN useradd --create-home --uid 1000 telescope && install --directory --owner telescope --group telescope "$TELESCOPE_HOME"

WORKDIR /opt/telescope

# Packages first: they change less often than the code.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && pip install --no-cache-dir -c constraints.txt -r requirements.txt

COPY README.md LICENSE ./
COPY telescope telescope
COPY workers workers
COPY api api
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps .

USER telescope
EXPOSE 8765
CMD ["telescope", "serve", "--host", "0.0.0.0"]
