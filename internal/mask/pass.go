package mask

import "encoding/binary"

// pass reads on as long as nothing is masked, which is most of what there is, and gives how far it came: to a value that
// is masked, to the end of b, or to something rare, such as an escape, that is token's to judge. So all that is refused
// is refused there.
//
// Each label is a state of the grammar, so that the processor learns what follows each of them. That is worth a longer
// function than there should be.
func (p *parser) pass(b []byte, i int) int {
	if len(p.stack) == 0 || p.splices != nil {
		return i
	}
	var end int
	var at *state
	top := p.stack[len(p.stack)-1]
	switch p.want {
	case wantCommaOrEnd:
		goto after
	case wantKey, wantKeyOrEnd:
		goto key
	case wantValue, wantElementOrEnd:
		if at = p.at; at == nil || at.rule == nil {
			goto value
		}
	}
	return i

key:
	if i == len(b) {
		return i
	}
	if b[i] != '"' {
		if isSpace(b[i]) {
			i++
			goto key
		}
		if b[i] != '}' || p.want != wantKeyOrEnd {
			return i
		}
		i++
		goto pop
	}
	if end = plainNear(b, i+1); end+1 >= len(b) || b[end] != '"' || b[end+1] != ':' {
		return i
	}
	if at = top.at; at != nil {
		at = at.child(b[i+1 : end])
		p.noteKey(b[i+1 : end])
	}
	if p.known && end-i > windowBytes {
		p.see(i+1, end)
	}
	i = end + 2
	p.want = wantValue
	if at != nil && at.rule != nil {
		p.at = at
		return i
	}

value:
	if i == len(b) {
		p.at = at
		return i
	}
	switch c := b[i]; c {
	case '"':
		if end = plainNear(b, i+1); end >= len(b) || b[end] != '"' {
			p.at = at
			return i
		}
		if p.known && end-i > windowBytes {
			p.see(i+1, end)
		}
		i = end + 1
	case '{', '[':
		p.at = at
		if p.push(c == '{') != fine {
			return i
		}
		i++
		top = frame{at, c == '{'}
		if top.object {
			goto key
		}
		if at = at.element(); at == nil || at.rule == nil {
			goto value
		}
		return i
	case ']':
		p.at = at
		if p.want != wantElementOrEnd {
			return i
		}
		i++
		goto pop
	case ' ', '\n', '\r', '\t':
		i++
		goto value
	default:
		if end = scalar(b, i); end == i {
			p.at = at
			return i
		}
		if p.known && end-i >= windowBytes {
			p.see(i, end)
		}
		i = end
	}
	p.want = wantCommaOrEnd

after:
	if i == len(b) {
		return i
	}
	switch c := b[i]; {
	case c == ',':
		i++
		if top.object {
			p.want = wantKey
			goto key
		}
		p.want = wantValue
		if at = top.at.element(); at == nil || at.rule == nil {
			goto value
		}
		p.at = at
		return i
	case c == '}' && top.object, c == ']' && !top.object:
		i++
		goto pop
	case isSpace(c):
		i++
		goto after
	}
	return i

pop:
	p.pop(i)
	if len(p.stack) == 0 {
		return i
	}
	top = p.stack[len(p.stack)-1]
	goto after
}

// plainNear is plainRun, whose answer is mostly near.
func plainNear(b []byte, i int) int {
	if i+8 <= len(b) {
		if m := notPlain(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + firstByte(m)
		}
		i += 8
	}
	return plainRun(b, i)
}

// scalar gives the end of the number or word at i, where that is sure; else i.
func scalar(b []byte, i int) int {
	if c := b[i]; c == '-' || c >= '0' && c <= '9' {
		end, ok := number(b, i)
		if !ok || end == len(b) || b[end] >= '0' && b[end] <= '9' {
			return i
		}
		return end
	}
	word := literal(b[i])
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i
	}
	return i + len(word)
}
