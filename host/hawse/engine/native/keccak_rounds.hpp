// Body of Keccak-f[1600] on the 25 words at `s`, of type T: one state in 64-bit words, or several side by side in
// vectors of them. Everything is in named variables, so that a compiler can keep what fits in registers.
//
// Whoever includes it says how words are rotated (ROL), how three are added (XOR3), how chi takes three (CHI), and
// how theta's column and rotated column go into a word (MIX, which may take their sum instead).
T a0 = s[0], a1 = s[1], a2 = s[2], a3 = s[3], a4 = s[4], a5 = s[5], a6 = s[6], a7 = s[7], a8 = s[8], a9 = s[9],
  a10 = s[10], a11 = s[11], a12 = s[12], a13 = s[13], a14 = s[14], a15 = s[15], a16 = s[16], a17 = s[17], a18 = s[18],
  a19 = s[19], a20 = s[20], a21 = s[21], a22 = s[22], a23 = s[23], a24 = s[24];
for (uint64_t constant : ROUND_CONSTANTS) {
    const T c0 = XOR3(XOR3(a0, a5, a10), a15, a20), c1 = XOR3(XOR3(a1, a6, a11), a16, a21);
    const T c2 = XOR3(XOR3(a2, a7, a12), a17, a22), c3 = XOR3(XOR3(a3, a8, a13), a18, a23);
    const T c4 = XOR3(XOR3(a4, a9, a14), a19, a24);
    const T r0 = ROL(c0, 1), r1 = ROL(c1, 1), r2 = ROL(c2, 1), r3 = ROL(c3, 1), r4 = ROL(c4, 1);
    [[maybe_unused]] const T d0 = c4 ^ r1, d1 = c0 ^ r2, d2 = c1 ^ r3, d3 = c2 ^ r4, d4 = c3 ^ r0;
    // theta, rho and pi: the word at (x, y) goes, rotated, to (y, 2x + 3y)
    const T b0 = MIX(a0, c4, r1, d0), t1 = MIX(a1, c0, r2, d1), t2 = MIX(a2, c1, r3, d2), t3 = MIX(a3, c2, r4, d3);
    const T t4 = MIX(a4, c3, r0, d4), t5 = MIX(a5, c4, r1, d0), t6 = MIX(a6, c0, r2, d1), t7 = MIX(a7, c1, r3, d2);
    const T t8 = MIX(a8, c2, r4, d3), t9 = MIX(a9, c3, r0, d4), t10 = MIX(a10, c4, r1, d0);
    const T t11 = MIX(a11, c0, r2, d1), t12 = MIX(a12, c1, r3, d2), t13 = MIX(a13, c2, r4, d3);
    const T t14 = MIX(a14, c3, r0, d4), t15 = MIX(a15, c4, r1, d0), t16 = MIX(a16, c0, r2, d1);
    const T t17 = MIX(a17, c1, r3, d2), t18 = MIX(a18, c2, r4, d3), t19 = MIX(a19, c3, r0, d4);
    const T t20 = MIX(a20, c4, r1, d0), t21 = MIX(a21, c0, r2, d1), t22 = MIX(a22, c1, r3, d2);
    const T t23 = MIX(a23, c2, r4, d3), t24 = MIX(a24, c3, r0, d4);
    const T b10 = ROL(t1, 1), b20 = ROL(t2, 62), b5 = ROL(t3, 28), b15 = ROL(t4, 27);
    const T b16 = ROL(t5, 36), b1 = ROL(t6, 44), b11 = ROL(t7, 6), b21 = ROL(t8, 55), b6 = ROL(t9, 20);
    const T b7 = ROL(t10, 3), b17 = ROL(t11, 10), b2 = ROL(t12, 43), b12 = ROL(t13, 25), b22 = ROL(t14, 39);
    const T b23 = ROL(t15, 41), b8 = ROL(t16, 45), b18 = ROL(t17, 15), b3 = ROL(t18, 21), b13 = ROL(t19, 8);
    const T b14 = ROL(t20, 18), b24 = ROL(t21, 2), b9 = ROL(t22, 61), b19 = ROL(t23, 56), b4 = ROL(t24, 14);
    a0 = ROUND(CHI(b0, b1, b2), constant), a1 = CHI(b1, b2, b3), a2 = CHI(b2, b3, b4), a3 = CHI(b3, b4, b0);
    a4 = CHI(b4, b0, b1), a5 = CHI(b5, b6, b7), a6 = CHI(b6, b7, b8), a7 = CHI(b7, b8, b9);
    a8 = CHI(b8, b9, b5), a9 = CHI(b9, b5, b6), a10 = CHI(b10, b11, b12), a11 = CHI(b11, b12, b13);
    a12 = CHI(b12, b13, b14), a13 = CHI(b13, b14, b10), a14 = CHI(b14, b10, b11), a15 = CHI(b15, b16, b17);
    a16 = CHI(b16, b17, b18), a17 = CHI(b17, b18, b19), a18 = CHI(b18, b19, b15), a19 = CHI(b19, b15, b16);
    a20 = CHI(b20, b21, b22), a21 = CHI(b21, b22, b23), a22 = CHI(b22, b23, b24), a23 = CHI(b23, b24, b20);
    a24 = CHI(b24, b20, b21);
}
s[0] = a0, s[1] = a1, s[2] = a2, s[3] = a3, s[4] = a4, s[5] = a5, s[6] = a6, s[7] = a7, s[8] = a8, s[9] = a9;
s[10] = a10, s[11] = a11, s[12] = a12, s[13] = a13, s[14] = a14, s[15] = a15, s[16] = a16, s[17] = a17;
s[18] = a18, s[19] = a19, s[20] = a20, s[21] = a21, s[22] = a22, s[23] = a23, s[24] = a24;
