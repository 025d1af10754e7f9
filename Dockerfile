# Two images from one file. `service` runs the API and the uploader; `processor` fetches and separates songs. Each
# contains only the hash-locked packages that it needs: the service has neither onnxruntime nor numpy nor FFmpeg.
#
#   docker build --target service .
#   docker build --target processor .
#
# Set the build arguments PYTHON_IMAGE, PIP_INDEX_URL and PIP_EXTRA_INDEX_URL to use mirrors; docker-compose.yml takes
# them from .env.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# Packages are installed in stages that are discarded, so an index URL with a password does not end up in the images.
FROM ${PYTHON_IMAGE} AS service-packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/api.txt,target=/tmp/requirements.txt \
    python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --require-hashes -r /tmp/requirements.txt


# This environment keeps pip, which downloads models that come as Python packages at run time.
FROM ${PYTHON_IMAGE} AS processor-packages
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements/processor.txt,target=/tmp/requirements.txt \
    python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --require-hashes -r /tmp/requirements.txt


# The kernels need a C compiler once. If none can be installed, the image works without them, only slower.
FROM ${PYTHON_IMAGE} AS kernels
WORKDIR /srv/uvr
# hadolint ignore=DL3008
RUN if ! command -v cc; then \
        apt-get -o Acquire::Retries=1 -o Acquire::http::Timeout=15 update \
        && apt-get install -y --no-install-recommends gcc libc6-dev \
        && rm -rf /var/lib/apt/lists/*; \
    fi || echo "No C compiler could be installed, so the kernels are not built."
COPY uvr/__init__.py uvr/
COPY uvr/separation/__init__.py uvr/separation/
COPY uvr/separation/native/ uvr/separation/native/
RUN python -m uvr.separation.native.build


# Shared by both images: an unprivileged user, and the two folders that it may write to. Everything else is read-only.
FROM ${PYTHON_IMAGE} AS application
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /srv/uvr
RUN groupadd --gid 10001 uvr \
    && useradd --uid 10001 --gid uvr --no-create-home --home-dir /tmp uvr \
    && install --directory --owner=uvr --group=uvr data models
STOPSIGNAL SIGTERM


FROM application AS service
COPY --from=service-packages /opt/venv /opt/venv
COPY . .
USER 10001:10001
EXPOSE 8000
CMD ["python", "app.py"]


FROM application AS processor
COPY --from=processor-packages /opt/venv /opt/venv
COPY . .
COPY --from=kernels /srv/uvr/uvr/separation/native/ uvr/separation/native/
USER 10001:10001
CMD ["python", "processor.py"]
