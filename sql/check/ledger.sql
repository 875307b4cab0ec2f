-- Checks the whole ledger: one row for each violation, no row without one. To be run by a superuser or a member of
-- rinha_owner. It does not rely on constraints, so it also finds rows that a dropped constraint let in. One statement,
-- so one snapshot: it may run while transactions do.
WITH cadeia AS (
    SELECT t.cliente_id, t.seq, t.valor, t.tipo, t.descricao, t.realizada_em, t.saldo_apos, c.limite,
           c.id IS NULL AS estranha,
           lag(t.seq, 1, 0::bigint) OVER ledger AS seq_antes,
           lag(t.saldo_apos, 1, 0::bigint) OVER ledger AS saldo_antes,
           lag(t.realizada_em) OVER ledger AS realizada_antes
    FROM rinha.transacoes AS t
    LEFT JOIN rinha.clientes AS c ON c.id = t.cliente_id
    WINDOW ledger AS (PARTITION BY t.cliente_id ORDER BY t.seq)
),
ultima AS (
    SELECT c.id, c.limite, c.saldo, c.seq, c.ultima_em,
           coalesce(t.seq, 0) AS seq_ledger,
           coalesce(t.saldo_apos, 0) AS saldo_ledger,
           coalesce(t.realizada_em, '-infinity') AS realizada_ledger
    FROM rinha.clientes AS c
    LEFT JOIN LATERAL (
        SELECT t.seq, t.saldo_apos, t.realizada_em
        FROM rinha.transacoes AS t
        WHERE t.cliente_id = c.id
        ORDER BY t.seq DESC
        LIMIT 1
    ) AS t ON true
)
SELECT 'unknown client' AS violation, cliente_id, seq, 'no row in clientes' AS detail
FROM cadeia WHERE estranha
UNION ALL
SELECT 'gap in seq', cliente_id, seq, format('follows seq %s', seq_antes)
FROM cadeia WHERE seq IS DISTINCT FROM seq_antes + 1
UNION ALL
SELECT 'broken chain', cliente_id, seq,
       format('saldo_apos is %s after %s, tipo %s, valor %s', saldo_apos, saldo_antes, tipo, valor)
FROM cadeia
WHERE saldo_apos::numeric IS DISTINCT FROM
      saldo_antes::numeric + CASE tipo WHEN 'c' THEN valor::numeric WHEN 'd' THEN -valor::numeric END
UNION ALL
SELECT 'below the limit', cliente_id, seq, format('saldo_apos is %s, limite %s', saldo_apos, limite)
FROM cadeia WHERE saldo_apos < -limite
UNION ALL
SELECT 'below the limit', id, NULL::bigint, format('clientes.saldo is %s, limite %s', saldo, limite)
FROM ultima WHERE saldo < -limite
UNION ALL
SELECT 'time runs backwards', cliente_id, seq, format('%s after %s', realizada_em, realizada_antes)
FROM cadeia WHERE realizada_em < realizada_antes
UNION ALL
SELECT 'not a transaction', cliente_id, seq, format('valor %s, tipo %L, descricao %L', valor, tipo, descricao)
FROM cadeia
WHERE (valor BETWEEN 1 AND 9007199254740991 AND tipo IN ('c', 'd') AND char_length(descricao) BETWEEN 1 AND 10)
      IS NOT TRUE
UNION ALL
SELECT 'not a key', cliente_id, seq, format('chave %L', chave)
FROM rinha.transacoes WHERE octet_length(chave) NOT BETWEEN 3 AND 257
UNION ALL
SELECT 'key twice', cliente_id, seq, format('chave %L is that of seq %s', chave, primeira)
FROM (
    SELECT t.cliente_id, t.seq, t.chave, min(t.seq) OVER (PARTITION BY t.cliente_id, t.chave) AS primeira
    FROM rinha.transacoes AS t
    WHERE t.chave IS NOT NULL
) AS chaves
WHERE seq <> primeira
UNION ALL
SELECT 'out of range', cliente_id, seq, format('saldo_apos is %s', saldo_apos)
FROM cadeia WHERE saldo_apos NOT BETWEEN -9007199254740991 AND 9007199254740991
UNION ALL
SELECT 'saldo differs', id, seq_ledger, format('clientes says %s, its last transaction %s', saldo, saldo_ledger)
FROM ultima WHERE saldo IS DISTINCT FROM saldo_ledger
UNION ALL
SELECT 'seq differs', id, seq_ledger, format('clientes says %s, its last transaction %s', seq, seq_ledger)
FROM ultima WHERE seq IS DISTINCT FROM seq_ledger
UNION ALL
SELECT 'time differs', id, seq_ledger, format('clientes says %s, its last transaction %s', ultima_em, realizada_ledger)
FROM ultima WHERE ultima_em IS DISTINCT FROM realizada_ledger
ORDER BY 2, 3, 1
