# One image for all that workcast runs in containers: the gateway, the demo, a relay. docker-compose.yml says which.
FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
# What only the build needs, Node for the dashboard among it, lies in pip's own temporary environment. Nothing is
# compiled: every dependency comes as a wheel.
RUN python -m venv --without-pip /opt/workcast \
    && pip --python /opt/workcast/bin/python install --no-cache-dir --only-binary :all: .

FROM python:3.13-slim
# Volumes begin as copies of the directories that they cover, so the owner is set here.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin workcast \
    && install --directory --owner workcast --group workcast /data
COPY --from=build /opt/workcast /opt/workcast
ENV PATH=/opt/workcast/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 10001:10001
EXPOSE 8787
ENTRYPOINT ["workcast"]
CMD ["--help"]
