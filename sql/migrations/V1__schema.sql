-- The roles, the domains and the tables. Nothing in this folder holds a password. A superuser may migrate, or the
-- database's owner with CREATEROLE.
--
-- This file was run again and again before there were migrations. So it also adopts a ledger from that time: it creates
-- what is missing, and every row stays.

-- rinha_owner owns everything and cannot log in; galo is the service, and may only execute what procedures/2_grants.sql
-- lists.
-- Roles belong to the cluster, and several databases of it may be set up at once: a session that loses the race to
-- create a role finds it there, and one that loses the race to alter a role ("tuple concurrently updated") tries again.
DO $$
DECLARE
    missing record;
    -- From 16 on, the creator of a role becomes its member without the right to SET ROLE to it.
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

            -- Timeouts that apply even when the host no longer waits for an answer. A call takes well under a
            -- millisecond; 64 writers queueing on one client take a few hundred on a slow disk. lock_timeout is the
            -- shorter one, so that the error names the lock as the cause.
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

            -- A role that is not a superuser must be a member: of the owner to create objects for it, of galo to test
            -- as the service.
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
    RAISE 'the roles rinha_owner and galo are being altered by other sessions; run this file again';
END
$$;

-- Before SET ROLE, because its error is clearer.
CREATE SCHEMA IF NOT EXISTS rinha AUTHORIZATION rinha_owner;

SET ROLE rinha_owner;

-- The allowed values. A domain's check is compiled once for a session; a table's is parsed again by every statement
-- that writes to it, which was a tenth of what a batch of transactions costs (BENCHMARKS.md).
-- 9007199254740991 is 2^53 - 1, the largest integer every JSON reader reads exactly.
DO $$
BEGIN
    IF pg_catalog.to_regtype('rinha.valor') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE DOMAIN rinha.limite AS bigint CONSTRAINT limite_na_faixa CHECK (VALUE BETWEEN 0 AND 9007199254740991);
    CREATE DOMAIN rinha.saldo AS bigint
        CONSTRAINT saldo_na_faixa CHECK (VALUE BETWEEN -9007199254740991 AND 9007199254740991);
    CREATE DOMAIN rinha.valor AS bigint CONSTRAINT valor_na_faixa CHECK (VALUE BETWEEN 1 AND 9007199254740991);
    -- The position of a transaction in its client's ledger, from 1 on; and that of the last one, 0 without one.
    CREATE DOMAIN rinha.seq AS bigint CONSTRAINT seq_na_faixa CHECK (VALUE >= 1);
    CREATE DOMAIN rinha.ultima_seq AS bigint CONSTRAINT ultima_seq_na_faixa CHECK (VALUE >= 0);
    CREATE DOMAIN rinha.tipo AS text CONSTRAINT tipo_conhecido CHECK (VALUE IN ('c', 'd'));
    CREATE DOMAIN rinha.descricao AS text
        CONSTRAINT descricao_de_1_a_10 CHECK (pg_catalog.char_length(VALUE) BETWEEN 1 AND 10);
    -- At most the longest key that a handler takes, plus its prefix. A row of an index has room for 2704 bytes.
    -- Collation C compares bytes: the collation of a language costs more, and may change with the system.
    CREATE DOMAIN rinha.chave AS text COLLATE "C"
        CONSTRAINT chave_de_3_a_257 CHECK (pg_catalog.octet_length(VALUE) BETWEEN 3 AND 257);
END
$$;

-- One row for each client: its limit, and the state of its ledger.
CREATE TABLE IF NOT EXISTS rinha.clientes (
    id        integer          NOT NULL PRIMARY KEY,
    limite    rinha.limite     NOT NULL,
    saldo     rinha.saldo      NOT NULL DEFAULT 0,
    -- The seq of the last transaction.
    seq       rinha.ultima_seq NOT NULL DEFAULT 0,
    -- The realizada_em of the last transaction: the ledger's time never runs backwards, even when the clock does.
    ultima_em timestamptz      NOT NULL DEFAULT '-infinity',
    CONSTRAINT saldo_dentro_do_limite CHECK (saldo >= -limite)
) WITH (
    -- Every transaction updates a row here. No indexed column changes, so with room on the page each update is a HOT
    -- one, and the next statement that reads the page prunes the dead versions, without waiting for vacuum.
    fillfactor = 10,
    -- Truncating empty pages takes an ACCESS EXCLUSIVE lock, and this table has one page.
    vacuum_truncate = false
);

-- The ledger, append-only. The primary key also serves the query for the last ten.
-- No foreign key: its check would read clientes once more per insert, and only realizar_transacao and its batch form
-- write here, which have just updated or locked that client. check/ledger.sql finds rows of unknown clients.
CREATE TABLE IF NOT EXISTS rinha.transacoes (
    seq          rinha.seq       NOT NULL,
    valor        rinha.valor     NOT NULL,
    saldo_apos   rinha.saldo     NOT NULL,
    realizada_em timestamptz     NOT NULL,
    cliente_id   integer         NOT NULL,
    tipo         rinha.tipo      NOT NULL,
    descricao    rinha.descricao NOT NULL,
    -- The sender's key for the transaction, so that it is recorded once however often it is sent; null without a key.
    chave        rinha.chave,
    PRIMARY KEY (cliente_id, seq),
    -- Nulls are distinct, and the index holds them at 8 bytes each. Leaving them out would need a partial index, which
    -- is not a constraint, and realizar_transacao catches the conflict by the constraint's name.
    CONSTRAINT chave_uma_vez UNIQUE (cliente_id, chave)
) WITH (
    -- Nothing is ever updated, so pages are filled. Vacuum only freezes here: with the default, a run after inserts of
    -- a fifth of the rows, it would run all through a load.
    fillfactor = 100,
    autovacuum_vacuum_insert_scale_factor = 1.0,
    autovacuum_vacuum_insert_threshold = 100000
);

-- Adopts tables of earlier versions. Skipped when not needed, because ALTER TABLE waits for all calls under way and
-- blocks new ones.
DO $$
BEGIN
    -- A version without keys: no row has one.
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'rinha.transacoes'::pg_catalog.regclass AND attname = 'chave' AND NOT attisdropped
    ) THEN
        ALTER TABLE rinha.transacoes
            ADD COLUMN chave rinha.chave,
            ADD CONSTRAINT chave_uma_vez UNIQUE (cliente_id, chave);
    END IF;
    -- A version without domains. Both tables are rewritten, and calls wait until that is done.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'rinha.transacoes'::pg_catalog.regclass AND attname = 'valor'
          AND atttypid = 'bigint'::pg_catalog.regtype
    ) THEN
        ALTER TABLE rinha.clientes
            DROP CONSTRAINT IF EXISTS limite_na_faixa,
            DROP CONSTRAINT IF EXISTS saldo_na_faixa,
            DROP CONSTRAINT IF EXISTS seq_na_faixa,
            ADD CONSTRAINT saldo_dentro_do_limite CHECK (saldo >= -limite),
            ALTER COLUMN limite TYPE rinha.limite,
            ALTER COLUMN saldo TYPE rinha.saldo,
            ALTER COLUMN seq TYPE rinha.ultima_seq;
        ALTER TABLE rinha.transacoes
            DROP CONSTRAINT IF EXISTS seq_na_faixa,
            DROP CONSTRAINT IF EXISTS valor_na_faixa,
            DROP CONSTRAINT IF EXISTS saldo_apos_na_faixa,
            DROP CONSTRAINT IF EXISTS tipo_conhecido,
            DROP CONSTRAINT IF EXISTS descricao_de_1_a_10,
            DROP CONSTRAINT IF EXISTS chave_de_3_a_257,
            ALTER COLUMN seq TYPE rinha.seq,
            ALTER COLUMN valor TYPE rinha.valor,
            ALTER COLUMN saldo_apos TYPE rinha.saldo,
            ALTER COLUMN tipo TYPE rinha.tipo,
            ALTER COLUMN descricao TYPE rinha.descricao,
            ALTER COLUMN chave TYPE rinha.chave;
    END IF;
END
$$;

RESET ROLE;
