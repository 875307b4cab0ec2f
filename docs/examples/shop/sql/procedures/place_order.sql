-- Places an order, and takes it from the stock. The errors PT404, PT409 and PT422 become statuses; nothing is recorded
-- then. `most` is how many pieces this sender may order at once.
CREATE OR REPLACE FUNCTION public.place_order(
    product bigint, quantity bigint, most bigint, key text, OUT id bigint, OUT cents bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp
AS $$
DECLARE
    available app.products;
BEGIN
    IF place_order.quantity > most THEN
        RAISE SQLSTATE 'PT422' USING MESSAGE = format('at most %s pieces an order', most);
    END IF;
    -- Orders of one product come one after the other, so the key and the stock cannot change below.
    SELECT * INTO available FROM app.products AS p WHERE p.id = place_order.product FOR UPDATE;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'PT404' USING MESSAGE = 'no such product';
    END IF;
    SELECT o.id, o.cents INTO place_order.id, place_order.cents
    FROM app.orders AS o
    WHERE o.key = place_order.key AND (o.product, o.quantity) = (place_order.product, place_order.quantity);
    IF FOUND THEN
        RETURN;
    END IF;
    IF available.stock < place_order.quantity THEN
        RAISE SQLSTATE 'PT409' USING MESSAGE = 'not enough in stock';
    END IF;
    UPDATE app.products AS p SET stock = p.stock - place_order.quantity WHERE p.id = place_order.product;
    -- The key of another order violates the constraint orders_key_key.
    INSERT INTO app.orders AS o (product, quantity, cents, key)
    VALUES (place_order.product, place_order.quantity, place_order.quantity * available.cents, place_order.key)
    RETURNING o.id, o.cents INTO place_order.id, place_order.cents;
END
$$;

REVOKE ALL ON FUNCTION public.place_order(bigint, bigint, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.place_order(bigint, bigint, bigint, text) TO shop;
