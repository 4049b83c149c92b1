# syntax=docker/dockerfile:1
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock README.md ./
COPY src src
COPY lua lua
COPY migrations migrations
# The caches speed up the next build; the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin onrush && cp target/release/onrush /onrush

FROM debian:bookworm-slim
# Whom delivery trusts.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin onrush
COPY --from=build /onrush /usr/local/bin/onrush
USER 10001
ENV ONRUSH_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["onrush", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["onrush"]
CMD ["serve"]
