package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

const (
	// 2^53 - 1: the greatest integer that every JSON reader reads exactly.
	valorMax = 1<<53 - 1
	// In code points.
	descricaoMax = 10
)

// Why a body is not a transaction: the texts of the answers.
var (
	errBody      = errors.New("o corpo deve ser um objeto JSON")
	errRepeated  = errors.New("cada campo deve aparecer uma só vez")
	errValor     = errors.New("valor deve ser um inteiro positivo de centavos")
	errTipo      = errors.New("tipo deve ser c ou d")
	errDescricao = errors.New("descricao deve ter de 1 a 10 caracteres")
)

// transaction is a well-formed one.
type transaction struct {
	valor     int64
	tipo      string
	descricao string
}

// field is a member of the body. It keeps what encoding/json forgets: that a member came twice, or with a wrong type.
type field[T any] struct {
	value T
	valid bool
	times int
}

func (f *field[T]) UnmarshalJSON(data []byte) error {
	f.times++
	f.valid = string(data) != "null" && json.Unmarshal(data, &f.value) == nil
	return nil
}

// parse reads a transaction.
func parse(body []byte) (transaction, error) {
	var read struct {
		Valor     field[int64]  `json:"valor"`
		Tipo      field[string] `json:"tipo"`
		Descricao field[string] `json:"descricao"`
	}
	// encoding/json takes null for an empty object, and replaces what is not UTF-8.
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || !utf8.Valid(body) {
		return transaction{}, errBody
	}
	if json.Unmarshal(body, &read) != nil {
		return transaction{}, errBody
	}
	valor, tipo, descricao := read.Valor, read.Tipo, read.Descricao
	length := utf8.RuneCountInString(descricao.value)
	switch {
	case valor.times > 1 || tipo.times > 1 || descricao.times > 1:
		return transaction{}, errRepeated
	case !valor.valid || valor.value < 1 || valor.value > valorMax:
		return transaction{}, errValor
	case !tipo.valid || tipo.value != "c" && tipo.value != "d":
		return transaction{}, errTipo
	// Postgres cannot store U+0000.
	case !descricao.valid || length < 1 || length > descricaoMax || strings.ContainsRune(descricao.value, 0):
		return transaction{}, errDescricao
	}
	return transaction{valor.value, tipo.value, descricao.value}, nil
}
