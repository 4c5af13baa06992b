#!/bin/sh
# Logins of PostgreSQL, each for one kind of work (docs/operations.md, roles of the database). The image
# runs it when it makes the database; run it again at any time:
#   docker compose -f configs/compose.yaml --env-file .env exec postgres sh /docker-entrypoint-initdb.d/roles.sh
set -eu
psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv app POSTGRES_APP_PASSWORD
\getenv tenant POSTGRES_TENANT_PASSWORD
DO $$
DECLARE wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['atalaia_tenant', 'atalaia_platform', 'atalaia_app', 'atalaia_app_tenant'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I', wanted);
    END IF;
  END LOOP;
END
$$;
ALTER ROLE atalaia_app LOGIN PASSWORD :'app';
ALTER ROLE atalaia_app_tenant LOGIN PASSWORD :'tenant';
GRANT atalaia_platform TO atalaia_app WITH INHERIT FALSE, SET TRUE;
GRANT atalaia_tenant TO atalaia_app_tenant WITH INHERIT FALSE, SET TRUE;
REVOKE CONNECT ON DATABASE atalaia FROM PUBLIC;
GRANT CONNECT ON DATABASE atalaia TO atalaia_app, atalaia_app_tenant;
SQL
