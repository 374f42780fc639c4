# Debian and not Alpine for the build: a build tool there comes as a program for glibc.
FROM node:26-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

FROM node:26-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund && npm cache clean --force

FROM node:26-slim
LABEL org.opencontainers.image.title="Entrepot" \
      org.opencontainers.image.description="Pull-through mirror and caching proxy for container images" \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY LICENSE package.json ./
COPY config ./config
COPY --from=packages /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# For commands inside the container: docker exec CONTAINER entrepot stats
RUN chmod +x dist/main.js && ln -s /app/dist/main.js /usr/local/bin/entrepot
# The folder belongs to the user, so a new named volume does too. A bind mount needs `chown 1000:1000`.
RUN mkdir -p /var/lib/entrepot && chown 1000:1000 /var/lib/entrepot
ENV NODE_ENV=production \
    ENTREPOT_STORAGE_PATH=/var/lib/entrepot
USER 1000:1000
VOLUME /var/lib/entrepot
# 5000 is where clients pull. 5001 (API, dashboard, health, metrics) listens on 127.0.0.1 inside the container until
# ENTREPOT_ADMIN_LISTEN and an admin token are set.
EXPOSE 5000 5001
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:5001/livez').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["entrepot"]
CMD ["serve"]
