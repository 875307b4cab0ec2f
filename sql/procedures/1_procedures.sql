-- The procedures: all that the service ever calls. Each runs with its owner's rights, uses qualified names, and has a
-- search_path in which no other role can create anything.

-- The owner of a function in public must be able to create it there; revoked below.
GRANT USAGE, CREATE ON SCHEMA public TO rinha_owner;
SET ROLE rinha_owner;

-- A version without keys had four parameters. A node refuses a plain name that two functions have.
DROP FUNCTION IF EXISTS public.realizar_transacao(integer, bigint, text, text);

-- A version without ordinals. Nodes that still call it send each call through realizar_transacao.
DROP FUNCTION IF EXISTS public.realizar_transacoes(integer[], bigint[], text[], text[], text[]);

-- Decides a transaction and records it in one step, and under one key of a client only once.
--
-- chave is the sender's key for the transaction, 3 to 257 bytes, or null. Sent again with the same key and the same
-- valor, tipo and descricao, a recorded transaction is answered as it was the first time, and a retry that arrives
-- while the first one runs waits for it. A key lives as long as its row. A refused transaction leaves no row, so it may
-- be tried again.
--
-- Returns one row: resultado, and the client's limite and saldo after the decision (null when there is no client).
--   ok                   recorded, now or the first time; saldo is the balance right after it
--   limite_excedido      a debit would take saldo below -limite; nothing recorded
--   saldo_fora_da_faixa  a credit would take saldo over 2^53 - 1; nothing recorded
--   chave_reutilizada    another transaction is recorded under this key; nothing recorded
--   cliente_inexistente  no such client
-- Raises an exception only for arguments that no handler may send: null for anything except chave, a valor that is not
-- in 1 .. 2^53 - 1, a tipo other than c and d, a descricao that is not 1 to 10 characters long, a chave that is not 3 to
-- 257 bytes long.
--
-- enable_seqscan = off because a session that plans the search for a key while the ledger is short would choose to read
-- all of it, and would keep that plan until the next ANALYZE: 29 ms per refusal once there are 100,000 rows.
CREATE OR REPLACE FUNCTION public.realizar_transacao(
    cliente_id integer, valor bigint, tipo text, descricao text, chave text DEFAULT NULL,
    OUT resultado text, OUT limite bigint, OUT saldo bigint
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = rinha, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    diferenca bigint := CASE tipo WHEN 'c' THEN valor WHEN 'd' THEN -valor END;
    seq bigint;
    realizada_em timestamptz;
    sem_escritor boolean;
    saldo_gravado bigint;
    mesma_transacao boolean;
BEGIN
    IF diferenca IS NULL OR valor NOT BETWEEN 1 AND 9007199254740991 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'valor or tipo is out of range';
    END IF;

    FOR rodada IN 1..2 LOOP
        -- The condition is part of the update: a call that waited for the row decides on its new version, not on the
        -- one from before the wait (READ COMMITTED evaluates all of this again on the new version).
        UPDATE rinha.clientes AS c
        SET saldo = c.saldo + diferenca,
            seq = c.seq + 1,
            ultima_em = GREATEST(c.ultima_em, pg_catalog.clock_timestamp())
        WHERE c.id = realizar_transacao.cliente_id
          AND c.saldo + diferenca BETWEEN -c.limite AND 9007199254740991
        RETURNING c.limite, c.saldo, c.seq, c.ultima_em
        INTO limite, saldo, seq, realizada_em;

        IF FOUND THEN
            INSERT INTO rinha.transacoes (cliente_id, seq, valor, tipo, descricao, realizada_em, saldo_apos, chave)
            VALUES (realizar_transacao.cliente_id, seq, realizar_transacao.valor, realizar_transacao.tipo,
                    realizar_transacao.descricao, realizada_em, saldo, realizar_transacao.chave)
            ON CONFLICT ON CONSTRAINT chave_uma_vez DO NOTHING;
            IF FOUND THEN
                resultado := 'ok';
                RETURN;
            END IF;

            -- The key is taken: undo the update, which no other session has seen. An exception block would do this
            -- too, but every call would pay for its subtransaction. The subquery finds a row, because at least one
            -- transaction is recorded, the one under this key.
            UPDATE rinha.clientes AS c
            SET saldo = c.saldo - diferenca,
                seq = c.seq - 1,
                ultima_em = (SELECT t.realizada_em FROM rinha.transacoes AS t
                             WHERE t.cliente_id = c.id AND t.seq = c.seq - 1)
            WHERE c.id = realizar_transacao.cliente_id;
        END IF;

        -- Refused, recorded before, or no such client. A separate statement, so that it sees what was committed while
        -- the first one waited; a single one, so that limite, saldo and key are of one snapshot. A row that is found
        -- by its key never changes again.
        SELECT c.limite, c.saldo, c.xmax = 0, t.saldo_apos,
               (t.valor, t.tipo, t.descricao)
                   = (realizar_transacao.valor, realizar_transacao.tipo, realizar_transacao.descricao)
        INTO limite, saldo, sem_escritor, saldo_gravado, mesma_transacao
        FROM rinha.clientes AS c
        LEFT JOIN rinha.transacoes AS t ON t.cliente_id = c.id AND t.chave = realizar_transacao.chave
        WHERE c.id = realizar_transacao.cliente_id;

        IF NOT FOUND THEN
            resultado := 'cliente_inexistente';
            RETURN;
        ELSIF mesma_transacao THEN
            resultado := 'ok';
            saldo := saldo_gravado;
            RETURN;
        ELSIF NOT mesma_transacao THEN
            resultado := 'chave_reutilizada';
            RETURN;
        END IF;

        -- The key is not recorded, but its first try may be under way, e.g. a debit that has just emptied the account.
        -- That try has then set xmax in this version of the row, because it updates the row before it records anything.
        -- Without xmax, or with the row locked by this call, the refusal is final. So a refusal writes nothing and
        -- waits for no flush, unless another transaction is writing.
        IF sem_escritor OR rodada = 2 THEN
            IF saldo + diferenca < -limite THEN
                resultado := 'limite_excedido';
                RETURN;
            ELSIF saldo + diferenca > 9007199254740991 THEN
                resultado := 'saldo_fora_da_faixa';
                RETURN;
            END IF;
        END IF;

        -- Another transaction is writing, or changed the balance between the two statements. Try once more with the row
        -- locked: now both statements see the same version, so the second round is the last.
        PERFORM FROM rinha.clientes AS c WHERE c.id = realizar_transacao.cliente_id FOR NO KEY UPDATE;
    END LOOP;
    RAISE 'client % changed while it was locked', cliente_id;
END
$$;

-- realizar_transacao for many calls at once: every argument is an array, and the result has one row for each call, with
-- its ordinal. The result is that of realizar_transacao for one call after the other, in one transaction.
--
-- The clients are locked first, in the order of their ids, so that two batches never deadlock. From then on no other
-- transaction records anything for them, because it would have to update their row first. So the decisions are taken on
-- local copies, a key found in the ledger stays there, and the ledger is written once for all calls.
--
-- When the ledger already has one of the keys, or two calls share a key, what was written is undone, and each call goes
-- through realizar_transacao.
--
-- Raises the exceptions of realizar_transacao, for the whole batch; and one for arrays of different lengths.
--
-- enable_seqscan = off makes the search for keys use the index, however short the ledger was when it was planned.
-- force_generic_plan because arrays differ in length from call to call, and the planner would otherwise make a new plan
-- each time: 0.13 ms more for a batch, which doubles its time.
CREATE OR REPLACE FUNCTION public.realizar_transacoes(
    ordinals integer[], cliente_id integer[], valor bigint[], tipo text[], descricao text[], chave text[]
)
RETURNS TABLE (ordinal integer, resultado text, limite bigint, saldo bigint)
LANGUAGE plpgsql VOLATILE ROWS 32 SECURITY DEFINER SET search_path = rinha, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    chamadas CONSTANT integer := pg_catalog.cardinality(cliente_id);
    -- The clients: read once, then updated as calls are decided.
    ids integer[];
    limites bigint[];
    saldos bigint[];
    seqs bigint[];
    ultimas timestamptz[];
    -- The calls: their answers, and the position in the ledger of those that are recorded.
    limites_apos bigint[] := pg_catalog.array_fill(NULL::bigint, ARRAY[chamadas]);
    saldos_apos bigint[] := pg_catalog.array_fill(NULL::bigint, ARRAY[chamadas]);
    seqs_apos bigint[] := pg_catalog.array_fill(NULL::bigint, ARRAY[chamadas]);
    recusou_chave boolean := false;
    agora timestamptz;
    diferenca bigint;
    saldo_apos bigint;
    n integer;
BEGIN
    IF (pg_catalog.cardinality(ordinals), pg_catalog.cardinality(valor), pg_catalog.cardinality(tipo),
        pg_catalog.cardinality(descricao), pg_catalog.cardinality(chave))
        IS DISTINCT FROM (chamadas, chamadas, chamadas, chamadas, chamadas) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'the arrays differ in length';
    END IF;

    SELECT pg_catalog.array_agg(c.id), pg_catalog.array_agg(c.limite), pg_catalog.array_agg(c.saldo),
           pg_catalog.array_agg(c.seq), pg_catalog.array_agg(c.ultima_em)
    INTO ids, limites, saldos, seqs, ultimas
    FROM (
        SELECT c.id, c.limite, c.saldo, c.seq, c.ultima_em
        FROM rinha.clientes AS c
        WHERE c.id = ANY (realizar_transacoes.cliente_id)
        ORDER BY c.id
        FOR NO KEY UPDATE
    ) AS c;

    agora := pg_catalog.clock_timestamp();
    FOR i IN 1 .. chamadas LOOP
        diferenca := CASE tipo[i] WHEN 'c' THEN valor[i] WHEN 'd' THEN -valor[i] END;
        IF diferenca IS NULL OR valor[i] NOT BETWEEN 1 AND 9007199254740991 THEN
            RAISE invalid_parameter_value USING MESSAGE = 'valor or tipo is out of range';
        END IF;
        n := pg_catalog.array_position(ids, cliente_id[i]);
        CONTINUE WHEN n IS NULL;
        limites_apos[i] := limites[n];
        saldo_apos := saldos[n] + diferenca;
        IF saldo_apos BETWEEN -limites[n] AND 9007199254740991 THEN
            saldos[n] := saldo_apos;
            seqs[n] := seqs[n] + 1;
            seqs_apos[i] := seqs[n];
            saldos_apos[i] := saldo_apos;
        ELSE
            saldos_apos[i] := saldos[n];
            recusou_chave := recusou_chave OR chave[i] IS NOT NULL;
        END IF;
    END LOOP;

    -- What was written is undone when a key is already recorded: the unique constraint finds the keys of accepted
    -- calls, a search those of refused ones. A call's values are read by index: unnest would first copy every array
    -- into a table.
    BEGIN
        INSERT INTO rinha.transacoes (cliente_id, seq, valor, tipo, descricao, realizada_em, saldo_apos, chave)
        SELECT cliente_id[i], seqs_apos[i], valor[i], tipo[i], descricao[i],
               GREATEST(ultimas[pg_catalog.array_position(ids, cliente_id[i])], agora), saldos_apos[i], chave[i]
        FROM pg_catalog.generate_series(1, chamadas) AS i
        WHERE seqs_apos[i] IS NOT NULL;

        IF recusou_chave THEN
            -- OFFSET 0 forces the planner to search the index once for each key.
            PERFORM FROM pg_catalog.generate_series(1, chamadas) AS i
            WHERE seqs_apos[i] IS NULL AND chave[i] IS NOT NULL
              AND EXISTS (SELECT FROM rinha.transacoes AS t
                          WHERE t.cliente_id = realizar_transacoes.cliente_id[i]
                            AND t.chave = realizar_transacoes.chave[i] OFFSET 0);
            IF FOUND THEN
                RAISE unique_violation;
            END IF;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        FOR i IN 1 .. chamadas LOOP
            SELECT ordinals[i], uma.resultado, uma.limite, uma.saldo INTO ordinal, resultado, limite, saldo
            FROM public.realizar_transacao(cliente_id[i], valor[i], tipo[i], descricao[i], chave[i]) AS uma;
            RETURN NEXT;
        END LOOP;
        RETURN;
    END;

    UPDATE rinha.clientes AS c
    SET saldo = saldos[pg_catalog.array_position(ids, c.id)], seq = seqs[pg_catalog.array_position(ids, c.id)],
        ultima_em = GREATEST(c.ultima_em, agora)
    WHERE c.id = ANY (ids) AND c.seq <> seqs[pg_catalog.array_position(ids, c.id)];

    RETURN QUERY
    SELECT ordinals[i],
           CASE WHEN seqs_apos[i] IS NOT NULL THEN 'ok' WHEN limites_apos[i] IS NULL THEN 'cliente_inexistente'
                WHEN tipo[i] = 'd' THEN 'limite_excedido' ELSE 'saldo_fora_da_faixa' END,
           limites_apos[i], saldos_apos[i]
    FROM pg_catalog.generate_series(1, chamadas) AS i;
END
$$;

-- A client's balance and its last ten transactions, newest first, all of one snapshot.
--
-- No row when there is no such client; one row, with nulls from valor on, when it has no transaction.
-- The cost does not grow with the ledger: ten steps backwards on the primary key. A session that plans this while the
-- ledger is still empty would rather fetch all of a client's rows and sort them, and would keep that plan until the
-- first ANALYZE, a minute into the load; the two settings leave it only the index. (enable_sort = off would do so too,
-- but its cost of 10^10 for the outer sort makes the JIT compile every call, at 20 ms each.)
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
    -- Materialized, so that the clock is read once, not once for each row. What this snapshot shows was committed
    -- before it was taken, so the clock is later, unless the clock was set back since.
    WITH cliente AS MATERIALIZED (
        SELECT c.id, c.saldo, c.limite, GREATEST(c.ultima_em, pg_catalog.clock_timestamp()) AS data_extrato
        FROM rinha.clientes AS c
        WHERE c.id = extrato.cliente_id
    )
    SELECT cliente.saldo::bigint, cliente.limite::bigint, cliente.data_extrato,
           ultimas.valor::bigint, ultimas.tipo::text, ultimas.descricao::text, ultimas.realizada_em
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

-- The transaction that is recorded under a key of a client, for `galo explain`. No row when there is none.
CREATE OR REPLACE FUNCTION public.transacao_por_chave(cliente_id integer, chave text)
RETURNS TABLE (
    seq bigint, valor bigint, tipo text, descricao text, saldo_apos bigint, realizada_em timestamptz
)
LANGUAGE plpgsql STABLE ROWS 1 SECURITY DEFINER SET search_path = rinha, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
    SELECT t.seq::bigint, t.valor::bigint, t.tipo::text, t.descricao::text, t.saldo_apos::bigint, t.realizada_em
    FROM rinha.transacoes AS t
    WHERE t.cliente_id = transacao_por_chave.cliente_id AND t.chave = transacao_por_chave.chave;
END
$$;

-- By default every role may execute a new function; for one that runs with its owner's rights this is revoked.
REVOKE ALL ON FUNCTION public.realizar_transacao(integer, bigint, text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.realizar_transacoes(integer[], integer[], bigint[], text[], text[], text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.extrato(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.cliente_existe(integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION public.transacao_por_chave(integer, text) FROM PUBLIC;

RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM rinha_owner;
