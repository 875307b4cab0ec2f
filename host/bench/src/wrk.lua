-- The contest's mix, 220 debits : 110 credits : 10 extratos, made before the first request is sent: each request
-- is picked from a table. It counts statuses, and prints them and wrk's figures as one line of JSON.

local REQUESTS = 6800
local LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

local threads = {}

function setup(thread)
    table.insert(threads, thread)
    thread:set("number", #threads)
end

local requests, at = {}, 0

local function descricao()
    local letters = {}
    for i = 1, 10 do
        local place = math.random(#LETTERS)
        letters[i] = LETTERS:sub(place, place)
    end
    return table.concat(letters)
end

local function transacao(tipo)
    local path = "/clientes/" .. math.random(5) .. "/transacoes"
    local body = string.format('{"valor": %d, "tipo": "%s", "descricao": "%s"}', math.random(10000), tipo, descricao())
    return wrk.format("POST", path, { ["Content-Type"] = "application/json" }, body)
end

function init(args)
    math.randomseed(tonumber(args[1]) + number)
    for i = 1, REQUESTS do
        -- Exactly the mix, in every 340 of them.
        local kind = i % 340
        if kind < 220 then
            requests[i] = transacao("d")
        elseif kind < 330 then
            requests[i] = transacao("c")
        else
            requests[i] = wrk.format("GET", "/clientes/" .. math.random(5) .. "/extrato")
        end
    end
    for i = REQUESTS, 2, -1 do
        local other = math.random(i)
        requests[i], requests[other] = requests[other], requests[i]
    end
end

function request()
    at = at % REQUESTS + 1
    return requests[at]
end

-- Globals: `done` reads them from outside.
refused, unexpected, last_unexpected = 0, 0, 0

function response(status)
    if status == 200 then
        return
    elseif status == 422 then
        refused = refused + 1
    else
        unexpected = unexpected + 1
        last_unexpected = status
    end
end

function done(summary, latency)
    local refused, unexpected, last = 0, 0, 0
    for _, thread in ipairs(threads) do
        refused = refused + thread:get("refused")
        unexpected = unexpected + thread:get("unexpected")
        last = math.max(last, thread:get("last_unexpected"))
    end
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format(
        'galo-bench {"requests":%d,"micros":%d,"refused":%d,"unexpected":%d,"last_unexpected":%d,"broken":%d,' ..
        '"latency":[%d,%d,%d,%d,%d,%d]}\n',
        summary.requests, summary.duration, refused, unexpected, last, broken,
        latency:percentile(50), latency:percentile(75), latency:percentile(90), latency:percentile(99),
        latency:percentile(99.9), latency.max))
end
