-- Makes a database that `galo migrate` has set up the shard of one part of the clients. Run again after each migration
-- that seeds clients:
--
--     psql -v ON_ERROR_STOP=1 -v shard=0 -v shards=2 -f shard.sql
--
-- The shard of a client is the lowest bits of hashint4(id), as PL/Proxy on the routers and the lanes of the nodes have
-- it. The foreign half of the seed is deleted, and a trigger keeps other clients out from then on: a call that is sent
-- to the wrong shard finds no client, and cannot create one.
BEGIN;
SET LOCAL client_min_messages = warning;

-- Refused: another place among the shards than before, which would delete clients. `double` moves them first.
SET LOCAL galo_shard.shard = :'shard';
SET LOCAL galo_shard.shards = :shards;
DO $$
DECLARE
    mark constant text := pg_catalog.obj_description(pg_catalog.to_regnamespace('galo_shard'), 'pg_namespace');
    shard constant text := pg_catalog.current_setting('galo_shard.shard');
    shards constant integer := pg_catalog.current_setting('galo_shard.shards');
    before integer := shards;
    doubling boolean := false;
BEGIN
    IF mark <> shard THEN
        RAISE 'this database is shard %, and not %: are lines of SHARDS exchanged?', mark, shard;
    END IF;
    -- As `double` calls this.
    IF pg_catalog.current_setting('galo_shard.doubles', true) = 'on' THEN
        RETURN;
    END IF;
    IF pg_catalog.to_regclass('galo_shard.doubling') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM galo_shard.doubling)' INTO doubling;
    END IF;
    IF doubling THEN
        RAISE 'the shards are being doubled: finish that first, deploy/shards/double';
    END IF;
    IF pg_catalog.to_regprocedure('galo_shard.shards()') IS NOT NULL THEN
        EXECUTE 'SELECT galo_shard.shards()' INTO before;
    END IF;
    IF before <> shards THEN
        RAISE 'this database is one of % shards, and not of %: SHARDS has too many or too few lines', before, shards;
    END IF;
END
$$;

-- By which a node finds out that it was given a shard instead of a router.
CREATE SCHEMA IF NOT EXISTS galo_shard;
COMMENT ON SCHEMA galo_shard IS :'shard';
CREATE OR REPLACE FUNCTION galo_shard.shards() RETURNS integer LANGUAGE sql IMMUTABLE RETURN :shards;

SET ROLE rinha_owner;

-- A migration seeds every client on every shard: there, those of other shards are skipped. The service creates none of
-- them, so that it is an error.
CREATE OR REPLACE FUNCTION rinha.so_deste_shard() RETURNS trigger
LANGUAGE plpgsql SET search_path = rinha, pg_temp AS $$
BEGIN
    IF session_user = 'galo' THEN
        RAISE 'client % belongs to another shard', NEW.id;
    END IF;
    RETURN NULL;
END
$$;
-- Only at INSERT: a trigger for UPDATE would cost every transaction the lock of its row once more, and no id changes.
CREATE OR REPLACE TRIGGER so_deste_shard BEFORE INSERT ON rinha.clientes
    FOR EACH ROW WHEN (pg_catalog.hashint4(NEW.id) & (:shards - 1) <> :shard)
    EXECUTE FUNCTION rinha.so_deste_shard();

-- A client with transactions is not deleted: it is data that must be moved first, and stays visible to the check.
DELETE FROM rinha.clientes AS c
WHERE pg_catalog.hashint4(c.id) & (:shards - 1) <> :shard
  AND NOT EXISTS (SELECT FROM rinha.transacoes AS t WHERE t.cliente_id = c.id);

RESET ROLE;
COMMIT;
