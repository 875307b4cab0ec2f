-- The peer's schema: one procedure, on the tables of `sql/`. galo-bench applies it to the databases of the peer only.
--
-- The procedure takes the client's row first (SELECT … FOR UPDATE), decides, and then writes. Keys, results and refusals
-- are those of public.realizar_transacao in `sql/procedures/1_procedures.sql`.
--
-- The service's role may use the tables themselves, as is usual where a service owns its database. So the procedure
-- needs neither SECURITY DEFINER nor SET clauses, which would make each call dearer.
CREATE SCHEMA peer;
GRANT USAGE ON SCHEMA peer, rinha TO galo;
GRANT SELECT, UPDATE ON rinha.clientes TO galo;
GRANT SELECT, INSERT ON rinha.transacoes TO galo;

CREATE FUNCTION peer.realizar_transacao(
    cliente_id integer, valor bigint, tipo text, descricao text, chave text,
    OUT resultado text, OUT limite bigint, OUT saldo bigint
)
LANGUAGE plpgsql
AS $$
DECLARE
    diferenca bigint := CASE tipo WHEN 'c' THEN valor ELSE -valor END;
    proxima_seq bigint;
    agora timestamptz;
    saldo_gravado bigint;
    mesma_transacao boolean;
BEGIN
    SELECT c.limite, c.saldo, c.seq + 1, GREATEST(c.ultima_em, clock_timestamp())
    INTO limite, saldo, proxima_seq, agora
    FROM rinha.clientes AS c
    WHERE c.id = realizar_transacao.cliente_id
    FOR UPDATE;
    IF NOT FOUND THEN
        resultado := 'cliente_inexistente';
        RETURN;
    END IF;

    IF saldo + diferenca BETWEEN -limite AND 9007199254740991 THEN
        INSERT INTO rinha.transacoes (cliente_id, seq, valor, tipo, descricao, realizada_em, saldo_apos, chave)
        VALUES (realizar_transacao.cliente_id, proxima_seq, realizar_transacao.valor,
                realizar_transacao.tipo, realizar_transacao.descricao, agora,
                saldo + diferenca, realizar_transacao.chave)
        ON CONFLICT ON CONSTRAINT chave_uma_vez DO NOTHING;
        IF FOUND THEN
            saldo := saldo + diferenca;
            UPDATE rinha.clientes AS c
            SET saldo = realizar_transacao.saldo, seq = proxima_seq, ultima_em = agora
            WHERE c.id = realizar_transacao.cliente_id;
            resultado := 'ok';
            RETURN;
        END IF;
    END IF;

    -- Refused, or recorded before. The row is locked: nothing is recorded for this client in the meantime.
    IF chave IS NOT NULL THEN
        SELECT t.saldo_apos, (t.valor, t.tipo, t.descricao) = (realizar_transacao.valor, realizar_transacao.tipo,
                                                               realizar_transacao.descricao)
        INTO saldo_gravado, mesma_transacao
        FROM rinha.transacoes AS t
        WHERE t.cliente_id = realizar_transacao.cliente_id AND t.chave = realizar_transacao.chave;
        IF FOUND THEN
            saldo := saldo_gravado;
            resultado := CASE WHEN mesma_transacao THEN 'ok' ELSE 'chave_reutilizada' END;
            RETURN;
        END IF;
    END IF;
    resultado := CASE WHEN diferenca < 0 THEN 'limite_excedido' ELSE 'saldo_fora_da_faixa' END;
END
$$;
