package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/julienschmidt/httprouter"
)

// The largest body that is read.
const bodyBytesMax = 8 << 10

type balance struct {
	Limite int64 `json:"limite"`
	Saldo  int64 `json:"saldo"`
}

type extrato struct {
	Saldo   summary `json:"saldo"`
	Ultimas []entry `json:"ultimas_transacoes"`
}

type summary struct {
	Total  int64  `json:"total"`
	Data   moment `json:"data_extrato"`
	Limite int64  `json:"limite"`
}

type entry struct {
	Valor     int64  `json:"valor"`
	Tipo      string `json:"tipo"`
	Descricao string `json:"descricao"`
	Realizada moment `json:"realizada_em"`
}

// moment is written in RFC 3339, in UTC and with microseconds.
type moment time.Time

func (m moment) MarshalJSON() ([]byte, error) {
	return time.Time(m).UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000000Z"`), nil
}

// refusal is the body of an answer that is not 200: a text, or the code and the text of what Galo refuses itself.
type refusal struct {
	Error   string `json:"error"`
	Message string `json:"message,omitempty"`
}

func routes(s *store) http.Handler {
	router := httprouter.New()
	router.RedirectTrailingSlash = false
	router.RedirectFixedPath = false
	router.POST("/clientes/:id/transacoes", s.postTransacao)
	router.GET("/clientes/:id/extrato", s.getExtrato)
	router.HEAD("/clientes/:id/extrato", s.getExtrato)
	router.NotFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "caminho desconhecido")
	})
	router.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// httprouter sorts the methods; the order has no meaning, and this is that of the others.
		if w.Header().Get("Allow") == "OPTIONS, POST" {
			w.Header().Set("Allow", "POST, OPTIONS")
		}
		fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "método não permitido")
	})
	return router
}

func (s *store) postTransacao(w http.ResponseWriter, r *http.Request, params httprouter.Params) {
	id, ok := decimal(params.ByName("id"))
	if !ok {
		notFound(w)
		return
	}
	key, err := tryKey(r.Header)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	body := buffers.Get().(*bytes.Buffer)
	defer free(body)
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, bodyBytesMax)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			fail(w, http.StatusRequestEntityTooLarge, "body_too_large", "corpo grande demais")
		} else {
			fail(w, http.StatusBadRequest, "body_incomplete", "corpo incompleto")
		}
		return
	}
	t, err := parse(body.Bytes())
	if err != nil {
		// A bad body for a client that does not exist is a 404.
		exists, failed := s.exists(id)
		switch {
		case failed != nil:
			unavailable(w, failed)
		case exists:
			refuse(w, http.StatusUnprocessableEntity, err.Error())
		default:
			notFound(w)
		}
		return
	}
	result, b, err := s.transact(id, t, key)
	if err != nil {
		unavailable(w, err)
		return
	}
	switch result {
	case "ok":
		answer(w, http.StatusOK, b)
	case "limite_excedido":
		refuse(w, http.StatusUnprocessableEntity, "a transação passaria do limite")
	case "saldo_fora_da_faixa":
		refuse(w, http.StatusUnprocessableEntity, "o saldo sairia da faixa permitida")
	case "chave_reutilizada":
		refuse(w, http.StatusUnprocessableEntity, "a chave de idempotência já foi usada em outra transação")
	default:
		notFound(w)
	}
}

func (s *store) getExtrato(w http.ResponseWriter, _ *http.Request, params httprouter.Params) {
	id, ok := decimal(params.ByName("id"))
	if !ok {
		notFound(w)
		return
	}
	found, err := s.extrato(id)
	switch {
	case err != nil:
		unavailable(w, err)
	case found == nil:
		notFound(w)
	default:
		answer(w, http.StatusOK, found)
	}
}

// decimal reads an id: digits only, without leading zeros. No client has a greater number than an int32 holds.
func decimal(text string) (int32, bool) {
	id, err := strconv.ParseUint(text, 10, 31)
	return int32(id), err == nil && (text == "0" || text[0] != '0')
}

var errKey = errors.New("Idempotency-Key deve vir uma só vez, com 1 a 255 caracteres ASCII imprimíveis")

// tryKey returns the client's key for the transaction, otherwise that of the proxy, otherwise nil.
func tryKey(header http.Header) (*string, error) {
	if keys := header["Idempotency-Key"]; len(keys) > 0 {
		key := keys[0]
		if len(key) > 1 && key[0] == '"' && key[len(key)-1] == '"' {
			key = key[1 : len(key)-1]
		}
		if len(keys) > 1 || !printable(key, ' ') || strings.Contains(key, `"`) {
			return nil, errKey
		}
		key = "c:" + key
		return &key, nil
	}
	if try := header.Get("Galo-Try"); printable(try, '!') {
		try = "t:" + try
		return &try, nil
	}
	return nil, nil
}

// printable reports whether a key has 1 to 255 characters from least to ~.
func printable(key string, least byte) bool {
	for i := 0; i < len(key); i++ {
		if key[i] < least || key[i] > '~' {
			return false
		}
	}
	return len(key) >= 1 && len(key) <= 255
}

func notFound(w http.ResponseWriter) {
	refuse(w, http.StatusNotFound, "cliente não encontrado")
}

func unavailable(w http.ResponseWriter, err error) {
	log.Print(err)
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusServiceUnavailable, "unavailable", "serviço indisponível")
}

func refuse(w http.ResponseWriter, status int, text string) {
	answer(w, status, refusal{Error: text})
}

func fail(w http.ResponseWriter, status int, code, text string) {
	answer(w, status, refusal{code, text})
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func free(buffer *bytes.Buffer) {
	buffer.Reset()
	buffers.Put(buffer)
}

var applicationJSON = []string{"application/json"}

// answer writes the JSON of a value in one piece.
func answer(w http.ResponseWriter, status int, value any) {
	buffer := buffers.Get().(*bytes.Buffer)
	defer free(buffer)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		log.Print(err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	// The encoder ends with a line feed.
	body := buffer.Bytes()[:buffer.Len()-1]
	header := w.Header()
	header["Content-Type"] = applicationJSON
	header["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	// A client that has left does not read it.
	_, _ = w.Write(body)
}
