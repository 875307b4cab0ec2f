-- What the service may do: execute the procedures, and nothing else. Privileges on the database itself are not copied
-- from a template or by a dump: in another database, this file is applied again.

-- The service may not create tables, neither permanent nor temporary ones.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $$
BEGIN
    -- Only when needed, so that a second run does not write to pg_database.
    IF pg_catalog.has_database_privilege('public', pg_catalog.current_database(), 'TEMPORARY') THEN
        EXECUTE pg_catalog.format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
    END IF;
    IF NOT pg_catalog.has_database_privilege('galo', pg_catalog.current_database(), 'CONNECT') THEN
        EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO galo', pg_catalog.current_database());
    END IF;
END
$$;
GRANT USAGE ON SCHEMA public TO galo;

SET ROLE rinha_owner;
REVOKE ALL ON SCHEMA rinha FROM PUBLIC, galo;
REVOKE ALL ON ALL TABLES IN SCHEMA rinha FROM PUBLIC, galo;
GRANT EXECUTE ON FUNCTION public.realizar_transacao(integer, bigint, text, text, text) TO galo;
GRANT EXECUTE ON FUNCTION public.realizar_transacoes(integer[], integer[], bigint[], text[], text[], text[]) TO galo;
GRANT EXECUTE ON FUNCTION public.extrato(integer) TO galo;
GRANT EXECUTE ON FUNCTION public.cliente_existe(integer) TO galo;
GRANT EXECUTE ON FUNCTION public.transacao_por_chave(integer, text) TO galo;
RESET ROLE;
