package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

// Connections of the pool: as many as a node of Galo and the plain service have.
const poolConnections = 8

// How long the pool may take to connect before the peer listens.
const connectTimeout = 10 * time.Second

// The context of every call, which never ends. Postgres itself ends what takes too long (the role's statement_timeout and
// lock_timeout), a client that leaves must not undo what it has asked for, and for a context that can end pgx would
// start a goroutine for each call.
var call = context.Background()

// The statements, prepared on each connection under these names.
var statements = map[string]string{
	"transacao": "SELECT resultado, limite, saldo FROM peer.realizar_transacao($1, $2, $3, $4, $5)",
	"existe":    "SELECT EXISTS (SELECT FROM rinha.clientes WHERE id = $1)",
	// One statement, so that balance and list are of one snapshot.
	"extrato": `
		SELECT c.saldo::bigint, c.limite::bigint, GREATEST(c.ultima_em, clock_timestamp()),
		       t.valor::bigint, t.tipo::text, t.descricao::text, t.realizada_em
		FROM rinha.clientes AS c
		LEFT JOIN LATERAL (
			SELECT * FROM rinha.transacoes WHERE cliente_id = c.id ORDER BY seq DESC LIMIT 10
		) AS t ON true
		WHERE c.id = $1
		ORDER BY t.seq DESC`,
}

// store is the database.
type store struct {
	pool *pgxpool.Pool
}

// openStore connects all of the pool and prepares the statements.
func openStore(ctx context.Context, url string) (*store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = poolConnections
	config.MinConns = poolConnections
	// Statements are planned while the ledger is short, and keep their plans when it has grown: only the index scales.
	config.ConnConfig.RuntimeParams["enable_seqscan"] = "off"
	config.ConnConfig.RuntimeParams["enable_bitmapscan"] = "off"
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		for name, sql := range statements {
			if _, err := conn.Prepare(ctx, name, sql); err != nil {
				return err
			}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pool, err := pgxpool.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	var warm []*pgxpool.Conn
	for i := 0; i < poolConnections && err == nil; i++ {
		var conn *pgxpool.Conn
		if conn, err = pool.Acquire(ctx); err == nil {
			warm = append(warm, conn)
		}
	}
	for _, conn := range warm {
		conn.Release()
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &store{pool}, nil
}

func (s *store) close() {
	s.pool.Close()
}

// transact records a transaction and returns what the procedure decided.
func (s *store) transact(id int32, t transaction, key *string) (result string, b balance, err error) {
	row := s.pool.QueryRow(call, "transacao", id, t.valor, t.tipo, t.descricao, key)
	var limite, saldo *int64
	if err = row.Scan(&result, &limite, &saldo); err == nil && limite != nil {
		b = balance{*limite, *saldo}
	}
	return result, b, err
}

// exists reports whether there is such a client.
func (s *store) exists(id int32) (exists bool, err error) {
	err = s.pool.QueryRow(call, "existe", id).Scan(&exists)
	return exists, err
}

// extrato returns the statement of a client, nil if there is no such client.
func (s *store) extrato(id int32) (*extrato, error) {
	rows, err := s.pool.Query(call, "extrato", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found *extrato
	for rows.Next() {
		var (
			total, limite   int64
			now             time.Time
			valor           *int64
			tipo, descricao *string
			when            *time.Time
		)
		if err := rows.Scan(&total, &limite, &now, &valor, &tipo, &descricao, &when); err != nil {
			return nil, err
		}
		if found == nil {
			found = &extrato{
				Saldo:   summary{total, moment(now), limite},
				Ultimas: make([]entry, 0, 10),
			}
		}
		if valor != nil {
			found.Ultimas = append(found.Ultimas, entry{*valor, *tipo, *descricao, moment(*when)})
		}
	}
	return found, rows.Err()
}
