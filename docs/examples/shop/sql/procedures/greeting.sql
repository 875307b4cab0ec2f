-- Procedures: all that handlers may call. The files of this folder are applied again whenever one has changed. Each
-- function runs with its owner's rights (SECURITY DEFINER), and with a search_path in which no other role can create
-- anything.

-- A greeting; no row when there is none of this number.
CREATE OR REPLACE FUNCTION public.greeting(id integer) RETURNS TABLE (text text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = app, pg_temp
AS $$
    SELECT g.text FROM app.greetings AS g WHERE g.id = greeting.id
$$;

REVOKE ALL ON FUNCTION public.greeting(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.greeting(integer) TO shop;
