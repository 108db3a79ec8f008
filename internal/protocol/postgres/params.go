package postgres

import (
	"encoding/binary"
	"encoding/hex"
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
		return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(v))), 'g', -1, 32), true
	case t == typeFloat8 && len(v) == 8:
		return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(v)), 'g', -1, 64), true
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

// numberPlaceholder is what stands for a number (see package mask).
var numberPlaceholder = regexp.MustCompile(`\b710298[0-9]{9}\b`)

func hasNumberPlaceholder(text string) bool {
	return strings.Contains(text, "710298") && numberPlaceholder.MatchString(text)
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
