-- The role of the service, and the first table. A migration is applied once, in the order of the versions: what has been
-- applied is not edited, a change is a new file.

-- Handlers' calls run as this role. It owns nothing, and may only execute what the files of sql/procedures/ grant.
DO $$
BEGIN
    -- Roles belong to all databases of a server.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'shop') THEN
        CREATE ROLE shop LOGIN;
        -- They end a statement that no node waits for any more.
        ALTER ROLE shop SET statement_timeout = '2s';
        ALTER ROLE shop SET lock_timeout = '1s';
        ALTER ROLE shop SET idle_in_transaction_session_timeout = '5s';
    END IF;
END
$$;

-- The tables are in a schema that the role may not use.
CREATE SCHEMA app;

CREATE TABLE app.greetings (
    id   integer PRIMARY KEY,
    text text NOT NULL
);

INSERT INTO app.greetings VALUES (1, 'hello, world');
