# One image for all processes: docker-compose.yml runs the api, the coordinator, the migration and
# every Ray process from it. They must share it, because the corpus python-stdlib is the source code
# of the interpreter's standard library and must be the same text in every process.
#
#   docker build -t telescope .
#
# torch comes from pip's default index. For a smaller image without CUDA, or another CUDA version:
#
#   docker build -t telescope --build-arg PIP_EXTRA_INDEX_URL=<index of that torch build> .

FROM python:3.11-slim

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1 \
    TELESCOPE_HOME=/var/lib/telescope \
    RAY_USAGE_STATS_ENABLED=0

# A volume that is mounted here for the first time takes over the folder's owner.
RUN useradd --create-home --uid 1000 telescope && install --directory --owner telescope --group telescope "$TELESCOPE_HOME"

WORKDIR /opt/telescope

# Dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; e = p['optional-dependencies']; print(*p['dependencies'], *e['service'], *e['ray'], *e['postgres'], *e['plots'], sep='\n')" > requirements.txt \
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
