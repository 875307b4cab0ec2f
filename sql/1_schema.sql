-- The roles and the tables. Nothing in this folder holds a password, and every file may be run again at any time,
-- inside one transaction or statement by statement, by a superuser or by the database's owner with CREATEROLE.

-- rinha_owner owns everything and logs in nowhere; galo is the service, and may only execute what 3_grants.sql lists.
-- Roles belong to the cluster, and several databases of it may be set up at once: whoever loses the race to create a
-- role finds it made, and whoever loses the race to alter one ("tuple concurrently updated") looks again.
DO $$
DECLARE
    missing record;
    -- From 16 on, who creates a role is its member without the right to act as it.
    act_as constant text := CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000
                                 THEN 'SET' ELSE 'MEMBER' END;
    role_name text;
BEGIN
    FOR attempt IN 1..20 LOOP
        BEGIN
            FOR missing IN
                SELECT wanted.name, wanted.attribute
                FROM (VALUES ('rinha_owner', 'NOLOGIN'), ('galo', 'LOGIN')) AS wanted (name, attribute)
                WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted.name)
            LOOP
                EXECUTE pg_catalog.format('CREATE ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT',
                                          missing.name, missing.attribute);
            END LOOP;

            -- Bounds that hold even when the host has lost interest in an answer. A call takes well under a
            -- millisecond; 64 writers queueing on one client take a few hundred on a slow disk. lock_timeout is the
            -- shorter one, so that the error says what the call was waiting for.
            IF NOT EXISTS (
                SELECT FROM pg_catalog.pg_roles
                WHERE rolname = 'galo'
                  AND rolconfig @> ARRAY['statement_timeout=2s', 'lock_timeout=1s',
                                         'idle_in_transaction_session_timeout=5s']
            ) THEN
                ALTER ROLE galo SET statement_timeout = '2s';
                ALTER ROLE galo SET lock_timeout = '1s';
                ALTER ROLE galo SET idle_in_transaction_session_timeout = '5s';
            END IF;

            -- Who is no superuser must be a member: of the owner to make things in its name, of galo to act as the
            -- service, which `galo dev` does on a database that it is given.
            FOREACH role_name IN ARRAY ARRAY['rinha_owner', 'galo'] LOOP
                IF NOT pg_catalog.pg_has_role(current_user, role_name, act_as) THEN
                    EXECUTE pg_catalog.format('GRANT %I TO %I', role_name, current_user);
                END IF;
            END LOOP;
            RETURN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN internal_error THEN
                IF SQLERRM NOT LIKE 'tuple concurrently %' THEN
                    RAISE;
                END IF;
        END;
        PERFORM pg_catalog.pg_sleep(0.01 * attempt);
    END LOOP;
    RAISE 'the roles rinha_owner and galo are being altered by someone else all the time';
END
$$;

-- Asked first because a SET ROLE that would fail says less.
CREATE SCHEMA IF NOT EXISTS rinha AUTHORIZATION rinha_owner;

SET ROLE rinha_owner;

-- One row for each client: its limit, and where its ledger stands.
-- 9007199254740991 is 2^53 - 1, the largest integer every JSON reader reads exactly.
CREATE TABLE IF NOT EXISTS rinha.clientes (
    id        integer     NOT NULL PRIMARY KEY,
    limite    bigint      NOT NULL,
    saldo     bigint      NOT NULL DEFAULT 0,
    -- The seq of the last transaction, 0 when there is none.
    seq       bigint      NOT NULL DEFAULT 0,
    -- The realizada_em of the last transaction: the ledger's time never runs backwards, even when the clock does.
    ultima_em timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT limite_na_faixa CHECK (limite BETWEEN 0 AND 9007199254740991),
    CONSTRAINT saldo_na_faixa CHECK (saldo BETWEEN -limite AND 9007199254740991),
    CONSTRAINT seq_na_faixa CHECK (seq >= 0)
) WITH (
    -- Every transaction updates a row here. No indexed column changes, so with room on the page each update is a HOT
    -- one, and the dead versions are pruned by the next visitor, not by vacuum.
    fillfactor = 10,
    -- Giving back empty pages takes an ACCESS EXCLUSIVE lock, for a table of one page.
    vacuum_truncate = false
);

-- The ledger, only ever appended to. The primary key also serves the last ten.
-- No foreign key: its check would cost a second visit of clientes per insert, and rows get here through
-- realizar_transacao only, which has just updated that very client. check/ledger.sql looks for strangers.
CREATE TABLE IF NOT EXISTS rinha.transacoes (
    seq          bigint      NOT NULL,
    valor        bigint      NOT NULL,
    saldo_apos   bigint      NOT NULL,
    realizada_em timestamptz NOT NULL,
    cliente_id   integer     NOT NULL,
    tipo         text        NOT NULL,
    descricao    text        NOT NULL,
    -- What its sender calls the transaction, so that it is recorded once however often it is sent; null when the sender
    -- calls it nothing. In the order of its bytes: a language's order costs more, and may change with the system.
    chave        text        COLLATE "C",
    PRIMARY KEY (cliente_id, seq),
    -- Nulls are distinct, and the index holds them at 8 bytes apiece. Leaving them out takes an index that is no
    -- constraint, and realizar_transacao catches the conflict by the constraint's name.
    CONSTRAINT chave_uma_vez UNIQUE (cliente_id, chave),
    CONSTRAINT seq_na_faixa CHECK (seq >= 1),
    CONSTRAINT valor_na_faixa CHECK (valor BETWEEN 1 AND 9007199254740991),
    CONSTRAINT saldo_apos_na_faixa CHECK (saldo_apos BETWEEN -9007199254740991 AND 9007199254740991),
    CONSTRAINT tipo_conhecido CHECK (tipo IN ('c', 'd')),
    CONSTRAINT descricao_de_1_a_10 CHECK (pg_catalog.char_length(descricao) BETWEEN 1 AND 10),
    -- The longest key a handler takes, and what it puts before it. A row of an index has room for 2704 bytes.
    CONSTRAINT chave_de_3_a_257 CHECK (pg_catalog.octet_length(chave) BETWEEN 3 AND 257)
) WITH (
    -- Nothing is ever updated, so pages are filled. Vacuum has only freezing to do here: every fifth row's worth of
    -- inserts (the default) would have it run all through a load.
    fillfactor = 100,
    autovacuum_vacuum_insert_scale_factor = 1.0,
    autovacuum_vacuum_insert_threshold = 100000
);

-- A ledger from before there were keys gets the column; its rows have none. Asked first: ALTER TABLE would wait for
-- every call, and every call for it, each time this is run.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'rinha.transacoes'::pg_catalog.regclass AND attname = 'chave' AND NOT attisdropped
    ) THEN
        ALTER TABLE rinha.transacoes
            ADD COLUMN chave text COLLATE "C",
            ADD CONSTRAINT chave_uma_vez UNIQUE (cliente_id, chave),
            ADD CONSTRAINT chave_de_3_a_257 CHECK (pg_catalog.octet_length(chave) BETWEEN 3 AND 257);
    END IF;
END
$$;

RESET ROLE;
