# syntax=docker/dockerfile:1.12
# One image for every role: `ray start --head`, `ray start --address=…`, `atalaia migrate`,
# `atalaia up`. Base images are pinned by version; pin digests when you mirror them.

# ---- the dashboard: built once, served as files
FROM node:22.21.1-bookworm-slim AS dashboard
WORKDIR /src/serve/dashboard/web
COPY serve/dashboard/web/package.json serve/dashboard/web/package-lock.json serve/dashboard/web/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY serve/dashboard/web/ ./
RUN npm run build

# ---- the Python environment: exactly what the lock names, every file by its hash
FROM python:3.11.14-slim-bookworm AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY configs/requirements-runtime.lock /tmp/requirements.lock
RUN pip install --require-hashes --no-deps -r /tmp/requirements.lock
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY pipelines/ pipelines/
COPY cluster/ cluster/
COPY agents/ agents/
COPY serve/ serve/
COPY configs/ configs/
COPY --from=dashboard /src/serve/dashboard/static/ serve/dashboard/static/
# setuptools, which builds it, is in the lock too: nothing is fetched here.
RUN pip install --no-deps --no-build-isolation --no-index .

# ---- what runs
FROM python:3.11.14-slim-bookworm AS runtime

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Atalaia" \
      org.opencontainers.image.description="Many cameras become live rooms, detections, alarms and searchable memory, on a Ray cluster." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="AGPL-3.0-only"

# libgl1, libglib2.0-0: OpenCV. tini: reaps Ray's children and passes signals on. wget: KubeRay's
# probes call it. curl: the health check below.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       ca-certificates curl libgl1 libglib2.0-0 tini wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 atalaia \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin atalaia \
    && install --directory --owner=10001 --group=10001 /var/lib/atalaia

COPY --from=environment /opt/venv /opt/venv
COPY --chown=root:root configs/ /app/configs/

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ATALAIA_CONFIG=/app/configs/production.yaml \
    FORWARDED_ALLOW_IPS="" \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9/ \
    YOLO_CONFIG_DIR=/var/lib/atalaia/ultralytics

WORKDIR /var/lib/atalaia
USER 10001:10001
VOLUME ["/var/lib/atalaia"]
# API; Ray: GCS, dashboard and jobs, client.
EXPOSE 8000 6379 8265 10001

# Says yes where the API is: on a node that Serve's proxy runs on. Roles without an API (migrate,
# workers behind a head-only proxy) replace or disable it, as configs/compose.yaml does.
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=4 \
    CMD ["curl", "--fail", "--silent", "--max-time", "4", "http://127.0.0.1:8000/healthz"]

ENTRYPOINT ["tini", "--"]
CMD ["atalaia", "up"]
