-- The five clients of the contest. Those that exist already are left as they are.
SET ROLE rinha_owner;
INSERT INTO rinha.clientes (id, limite)
VALUES (1, 100000), (2, 80000), (3, 1000000), (4, 10000000), (5, 500000)
ON CONFLICT DO NOTHING;
RESET ROLE;
