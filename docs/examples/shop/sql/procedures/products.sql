CREATE OR REPLACE FUNCTION public.products()
RETURNS TABLE (id bigint, name text, cents bigint, stock bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp
AS $$
    SELECT p.id, p.name, p.cents, p.stock FROM app.products AS p ORDER BY p.id
$$;

-- The service may execute it, and nobody else.
REVOKE ALL ON FUNCTION public.products() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.products() TO shop;
