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

-- By which a node finds out that it was given a shard instead of a router.
CREATE SCHEMA IF NOT EXISTS galo_shard;
COMMENT ON SCHEMA galo_shard IS :'shard';

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
