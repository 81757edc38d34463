# One image for every workcast container: the gateway, the demo, a relay. docker-compose.yml sets the command.
FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
# Build dependencies, including Node for the dashboard, go into pip's own temporary environment. Nothing is compiled:
# every dependency comes as a wheel.
RUN python -m venv --without-pip /opt/workcast \
    && pip --python /opt/workcast/bin/python install --no-cache-dir --only-binary :all: .

FROM python:3.13-slim
# A new volume starts as a copy of the directory that it covers, so the owner is set here.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin workcast \
    && install --directory --owner workcast --group workcast /data
COPY --from=build /opt/workcast /opt/workcast
ENV PATH=/opt/workcast/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /data
USER 10001:10001
EXPOSE 8787
ENTRYPOINT ["workcast"]
CMD ["--help"]
