package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	wire "gatebook/internal/wire/postgres"
)

// Numbers of types (pg_type.dat), which never change.
const (
	typeBool = 16
	typeByte = 17
	typeInt8 = 20
	typeInt2 = 21
	typeInt4 = 23
	typeText = 25
	typeOID  = 26
	typeJSON = 114
	typeXML  = 142

	typeFloat4      = 700
	typeFloat8      = 701
	typeUnknown     = 705
	typeTextArray   = 1009
	typeCharArray   = 1015
	typeBpchar      = 1042
	typeVarchar     = 1043
	typeDate        = 1082
	typeTimestamp   = 1114
	typeTimestampTZ = 1184
	typeNumeric     = 1700
	typeUUID        = 2950
	typeJSONB       = 3802
	typeName        = 19
	typeChar        = 18
)

// readParams writes bound values as text. unread: a binary one is of a type that is not decoded, and stands there as bytes.
func readParams(b *wire.Binding, types []uint32) (out []string, unread bool) {
	for i, v := range b.Values {
		t := uint32(0)
		if i < len(types) {
			t = types[i]
		}
		switch {
		case v == nil:
			out = append(out, null)
		case b.Format(i) == 0 && utf8.Valid(v):
			out = append(out, string(v))
		default:
			s, ok := binaryText(t, v)
			if !ok || b.Format(i) != 1 {
				s, unread = `\x`+hex.EncodeToString(v), true
			}
			out = append(out, s)
		}
	}
	return out, unread
}

// epoch is where PostgreSQL's days and microseconds begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// binaryText writes a value of the binary format as text.
func binaryText(t uint32, v []byte) (string, bool) {
	switch {
	case t == typeBool && len(v) == 1:
		return map[bool]string{true: "t", false: "f"}[v[0] != 0], true
	case t == typeInt2 && len(v) == 2:
		return strconv.Itoa(int(int16(binary.BigEndian.Uint16(v)))), true
	case t == typeInt4 && len(v) == 4:
		return strconv.Itoa(int(int32(binary.BigEndian.Uint32(v)))), true
	case t == typeOID && len(v) == 4:
		return strconv.FormatUint(uint64(binary.BigEndian.Uint32(v)), 10), true
	case t == typeInt8 && len(v) == 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(v)), 10), true
	case t == typeFloat4 && len(v) == 4:
		return floatText(float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 32), true
	case t == typeFloat8 && len(v) == 8:
		return floatText(math.Float64frombits(binary.BigEndian.Uint64(v)), 64), true
	case t == typeNumeric:
		return numericText(v)
	case t == typeDate && len(v) == 4:
		return epoch.AddDate(0, 0, int(int32(binary.BigEndian.Uint32(v)))).Format(time.DateOnly), true
	case (t == typeTimestamp || t == typeTimestampTZ) && len(v) == 8:
		us := int64(binary.BigEndian.Uint64(v))
		if us == math.MaxInt64 || us == math.MinInt64 {
			return "", false
		}
		return time.UnixMicro(epoch.UnixMicro() + us).UTC().Format("2006-01-02 15:04:05.999999Z07:00"), true
	case t == typeUUID && len(v) == 16:
		h := hex.EncodeToString(v)
		return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), true
	case t == typeByte:
		return `\x` + hex.EncodeToString(v), true
	case t == typeJSONB && len(v) > 0 && v[0] == 1 && utf8.Valid(v):
		return string(v[1:]), true
	case isText(t) && utf8.Valid(v):
		return string(v), true
	}
	return "", false
}

// floatText writes a float as the server does: with an exponent only beyond what its digits hold.
func floatText(v float64, bits int) string {
	if a := math.Abs(v); a >= 1e-4 && a < 1e16 || a == 0 {
		return strconv.FormatFloat(v, 'f', -1, bits)
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

// Signs of a numeric (numeric.c, NUMERIC_POS and the others); what is neither positive nor negative is NaN or infinite.
const (
	numericPositive = 0
	numericNegative = 0x4000
)

// numericText writes a numeric of the binary format: digits of base 10,000, the weight of the first, sign, and how many decimals are shown.
func numericText(v []byte) (string, bool) {
	if len(v) < 8 {
		return "", false
	}
	n, weight, sign, scale := int(binary.BigEndian.Uint16(v)), int(int16(binary.BigEndian.Uint16(v[2:]))), binary.BigEndian.Uint16(v[4:]), int(binary.BigEndian.Uint16(v[6:]))
	if len(v) != 8+2*n || sign != numericPositive && sign != numericNegative || weight > 1000 || scale > 1000 {
		return "", false
	}
	digits := func(i int) string { // the four of weight i
		k := uint16(0)
		if at := weight - i; at >= 0 && at < n {
			k = binary.BigEndian.Uint16(v[8+2*at:])
		}
		return fmt.Sprintf("%04d", k)
	}
	whole, part := "", ""
	for i := weight; i >= 0; i-- {
		whole += digits(i)
	}
	for i := -1; len(part) < scale; i-- {
		part += digits(i)
	}
	out := strings.TrimLeft(whole, "0")
	if out == "" {
		out = "0"
	}
	if sign == numericNegative {
		out = "-" + out
	}
	if scale > 0 {
		out += "." + part[:scale]
	}
	return out, true
}

// isText reports whether a type's binary format is its text.
func isText(t uint32) bool {
	switch t {
	case typeText, typeVarchar, typeBpchar, typeName, typeChar, typeUnknown, typeJSON, typeXML:
		return true
	}
	return false
}

// exactParams is all of the values, for a digest.
func exactParams(b *wire.Binding) string {
	var out []byte
	for i, v := range b.Values {
		out = binary.BigEndian.AppendUint32(out, uint32(b.Format(i)))
		if v == nil {
			out = append(out, 0xff)
			continue
		}
		out = binary.BigEndian.AppendUint64(append(out, 0), uint64(len(v)))
		out = append(out, v...)
	}
	return string(out)
}

// numberPlaceholder is what stands for a number (see package mask), also as floats are written.
var numberPlaceholder = regexp.MustCompile(`\b(710298[0-9]{9}|7\.10298[0-9]{0,9}[eE]\+?14)\b`)

func hasNumberPlaceholder(text string) bool {
	return (strings.Contains(text, "710298") || strings.Contains(text, "7.10298")) && numberPlaceholder.MatchString(text)
}

// hasPlaceholder reports whether a masked value comes back.
func (s *session) hasPlaceholder(text string, params []string) bool {
	if s.scope.HasPlaceholder([]byte(text)) || hasNumberPlaceholder(text) {
		return true
	}
	for _, p := range params {
		if s.scope.HasPlaceholder([]byte(p)) || hasNumberPlaceholder(p) {
			return true
		}
	}
	return false
}
