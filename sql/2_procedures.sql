-- The procedures: all that the service ever calls. Each runs with its owner's rights, on names that are written in
-- full, with a search_path in which nobody else can put anything.

-- To own a function in public, its owner must be able to create it there; taken back below.
GRANT USAGE, CREATE ON SCHEMA public TO rinha_owner;
SET ROLE rinha_owner;

-- Decides a transaction and records it, in one step.
--
-- Returns one row: resultado, and the client's limite and saldo after the decision (null when there is no client).
--   ok                   recorded
--   limite_excedido      a debit would take saldo below -limite; nothing recorded
--   saldo_fora_da_faixa  a credit would take saldo over 2^53 - 1; nothing recorded
--   cliente_inexistente  no such client
-- Raises only for arguments that no handler may send: null, a valor outside 1 .. 2^53 - 1, a tipo other than c and d,
-- a descricao that is not 1 to 10 characters long.
CREATE OR REPLACE FUNCTION public.realizar_transacao(
    cliente_id integer, valor bigint, tipo text, descricao text,
    OUT resultado text, OUT limite bigint, OUT saldo bigint
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = rinha, pg_temp
AS $$
DECLARE
    diferenca bigint := CASE tipo WHEN 'c' THEN valor WHEN 'd' THEN -valor END;
    seq bigint;
    realizada_em timestamptz;
BEGIN
    IF diferenca IS NULL OR valor NOT BETWEEN 1 AND 9007199254740991 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'valor or tipo is out of range';
    END IF;

    FOR rodada IN 1..2 LOOP
        -- The condition is part of the update: whoever waited for the row decides on what it found there, not on
        -- what was there when it began to wait (READ COMMITTED evaluates all of this again on the new version).
        UPDATE rinha.clientes AS c
        SET saldo = c.saldo + diferenca,
            seq = c.seq + 1,
            ultima_em = GREATEST(c.ultima_em, pg_catalog.clock_timestamp())
        WHERE c.id = realizar_transacao.cliente_id
          AND c.saldo + diferenca BETWEEN -c.limite AND 9007199254740991
        RETURNING c.limite, c.saldo, c.seq, c.ultima_em
        INTO limite, saldo, seq, realizada_em;

        IF FOUND THEN
            INSERT INTO rinha.transacoes (cliente_id, seq, valor, tipo, descricao, realizada_em, saldo_apos)
            VALUES (realizar_transacao.cliente_id, seq, realizar_transacao.valor, realizar_transacao.tipo,
                    realizar_transacao.descricao, realizada_em, saldo);
            resultado := 'ok';
            RETURN;
        END IF;

        -- Refused, or no such client. This reads without a lock, so that a refusal writes nothing; it is a refusal
        -- only if what is read here refuses too, so that resultado, limite and saldo are of one moment.
        SELECT c.limite, c.saldo INTO limite, saldo
        FROM rinha.clientes AS c
        WHERE c.id = realizar_transacao.cliente_id;

        IF NOT FOUND THEN
            resultado := 'cliente_inexistente';
            RETURN;
        ELSIF saldo + diferenca < -limite THEN
            resultado := 'limite_excedido';
            RETURN;
        ELSIF saldo + diferenca > 9007199254740991 THEN
            resultado := 'saldo_fora_da_faixa';
            RETURN;
        END IF;

        -- Between the two statements someone made room for this one. Once more, with the row held: now both
        -- statements see the same version, and the second round is the last.
        PERFORM FROM rinha.clientes AS c WHERE c.id = realizar_transacao.cliente_id FOR NO KEY UPDATE;
    END LOOP;
    RAISE 'client % changed while it was locked', cliente_id;
END
$$;

-- A client's balance and its last ten transactions, newest first, all of one moment.
--
-- No row when there is no such client; one row, with nulls from valor on, when it has no transaction.
-- The cost does not grow with the ledger: ten steps backwards on the primary key. A session that plans this while the
-- ledger is still empty would rather fetch all of a client's rows and sort them, and would keep that plan until the
-- first ANALYZE, a minute into the load; the two settings leave it the index. (enable_sort = off would do so too, but
-- its cost of 10^10 for the outer sort has every call compiled by the JIT, at 20 ms each.)
CREATE OR REPLACE FUNCTION public.extrato(cliente_id integer)
RETURNS TABLE (
    saldo bigint, limite bigint, data_extrato timestamptz,
    valor bigint, tipo text, descricao text, realizada_em timestamptz
)
LANGUAGE plpgsql STABLE ROWS 10 SECURITY DEFINER SET search_path = rinha, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN QUERY
    -- Materialized, because the clock is to be read once, not once for each row. What this snapshot shows was
    -- committed before it was taken, so the clock is past it, unless it was set back meanwhile.
    WITH cliente AS MATERIALIZED (
        SELECT c.id, c.saldo, c.limite, GREATEST(c.ultima_em, pg_catalog.clock_timestamp()) AS data_extrato
        FROM rinha.clientes AS c
        WHERE c.id = extrato.cliente_id
    )
    SELECT cliente.saldo, cliente.limite, cliente.data_extrato,
           ultimas.valor, ultimas.tipo, ultimas.descricao, ultimas.realizada_em
    FROM cliente
    LEFT JOIN LATERAL (
        SELECT t.seq, t.valor, t.tipo, t.descricao, t.realizada_em
        FROM rinha.transacoes AS t
        WHERE t.cliente_id = cliente.id
        ORDER BY t.seq DESC
        LIMIT 10
    ) AS ultimas ON true
    ORDER BY ultimas.seq DESC;
END
$$;

-- Whether there is such a client. One row.
CREATE OR REPLACE FUNCTION public.cliente_existe(cliente_id integer, OUT existe boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = rinha, pg_temp
AS $$
BEGIN
    existe := EXISTS (SELECT FROM rinha.clientes AS c WHERE c.id = cliente_existe.cliente_id);
END
$$;

-- A new function may be executed by everyone, which with its owner's rights is too many.
REVOKE ALL ON FUNCTION public.realizar_transacao(integer, bigint, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.extrato(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.cliente_existe(integer) FROM PUBLIC;

RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM rinha_owner;
