-- Each client with its balance and the length of its ledger, for `galo check --sql sql/check --shard ...`: a client is on
-- one shard, the one that its id decides. Also a client that only has transactions.
SELECT coalesce(c.id, t.cliente_id) AS cliente_id, coalesce(c.saldo, 0)::bigint AS saldo,
       coalesce(t.quantos, 0) AS transacoes, coalesce(t.soma, 0)::bigint AS soma_das_transacoes
FROM rinha.clientes AS c
FULL JOIN (
    SELECT cliente_id, count(*) AS quantos, sum(CASE tipo WHEN 'c' THEN valor ELSE -valor END) AS soma
    FROM rinha.transacoes
    GROUP BY cliente_id
) AS t ON t.cliente_id = c.id
