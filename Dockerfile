# The image of leakguard. Any image with python3 (3.11 or newer), pip and venv can be its base:
#   docker build --build-arg BASE=python:3.12-slim -t leakguard .
# Without a network, fill wheels/ first (docs/containers.md) and name a base that is there.
# No syntax of BuildKit is used, so that the builder of Docker 20.10 and Podman read it too.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /build
# `wheels*` may match nothing; a COPY needs one source that is certainly there.
COPY LICENSE wheels* wheels/
COPY pyproject.toml constraints.txt LICENSE README.md ./
COPY leakguard leakguard/
RUN set -e; \
    python3 -m venv --without-pip /opt/leakguard; \
    pip="python3 -m pip --python /opt/leakguard/bin/python3"; \
    flags="--no-cache-dir --disable-pip-version-check --compile"; \
    if ls wheels/*.whl >/dev/null 2>&1; then \
        $pip install $flags --no-index --find-links wheels wheels/*.whl; \
    else \
        sed '/^# part 2:/,$d' constraints.txt > requirements.txt; \
        $pip install $flags --require-hashes -r requirements.txt; \
        $pip install $flags --no-deps .; \
    fi; \
    mkdir state

FROM ${BASE}
LABEL org.opencontainers.image.title="leakguard" \
      org.opencontainers.image.description="Restarts services that leak memory before the memory runs out" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/leakguard /opt/leakguard
# 10001 has no name in the image and needs none. To guard an app, give both the app's UID instead.
COPY --from=build --chown=10001:10001 /build/state /var/lib/leakguard
# State and socket lie in the volume, so the root file system may be read-only.
ENV PATH=/opt/leakguard/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/leakguard \
    LEAKGUARD_SOCKET=/var/lib/leakguard/leakguard.sock
USER 10001:10001
VOLUME /var/lib/leakguard
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["leakguard", "health"]
ENTRYPOINT ["leakguard"]
CMD ["run"]
