# The service alone, for a PostgreSQL of your own: docker-compose.yml shows how they go together.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# The dependencies first, with empty files for ours: this layer is kept until one of them changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/bulk benches/dashboard benches/flash_sale benches/growth benches/micro \
 && touch src/lib.rs benches/bulk/main.rs benches/dashboard/main.rs benches/flash_sale/main.rs \
      benches/growth/main.rs benches/micro/main.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --release --locked \
 && rm -r src
COPY .cargo .cargo
COPY .sqlx .sqlx
COPY migrations migrations
COPY src src
# The sources may be older than what the layer above was built from; cargo goes by their times.
# The queries are checked against .sqlx, so no database is needed.
RUN touch src/lib.rs src/main.rs \
 && SQLX_OFFLINE=true cargo build --release --locked --bin ringfence

FROM debian:12.12-slim
# Nothing in here is to become anybody else.
RUN find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build /build/target/release/ringfence /usr/local/bin/ringfence
USER 65532:65532
# The container is reached from outside of it, so requests need a key: `ringfence key create`.
ENV RINGFENCE_LISTEN=0.0.0.0:8080 RINGFENCE_AUTH=true
EXPOSE 8080
# There is no curl in here; bash can open a connection too.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.1\\r\\nHost: ringfence\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["ringfence"]
CMD ["serve"]
