#include "tests/kernels/tile_code.h"

__asm__(R"(
.macro entry
.pushsection .data.rel.ro,"aw"
.quad 771f
.popsection
771:
.endm
.macro table name
.pushsection .data.rel.ro,"aw"
.globl \name
.balign 8
\name:
.popsection
.endm

.pushsection .text
table tile_load_from
.irp base, rax,rcx,rdx,rbx,rsp,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15
.irp index, rax,rcx,rdx,rbx,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15
entry
tileloadd -64(%\base,%\index,2), %tmm5
ret
.endr
.endr

table tile_loads
.irp t, 0,1,2,3,4,5,6,7
entry
tileloadd (%rax,%rcx,1), %tmm\t
ret
.endr
table tile_stores
.irp t, 0,1,2,3,4,5,6,7
entry
tilestored %tmm\t, (%rax,%rcx,1)
ret
.endr
table tile_streams
.irp t, 0,1,2,3,4,5,6,7
entry
tileloaddt1 (%rax,%rcx,1), %tmm\t
ret
.endr
table tile_zeros
.irp t, 0,1,2,3,4,5,6,7
entry
tilezero %tmm\t
ret
.endr

table tile_products
.irp op, tdpbf16ps,tdpbssd,tdpbsud,tdpbusd,tdpbuud
.irp c, 0,1,2,3,4,5,6,7
.irp a, 0,1,2,3,4,5,6,7
.irp b, 0,1,2,3,4,5,6,7
.if (\c-\a)*(\c-\b)*(\a-\b)
entry
\op %tmm\b, %tmm\a, %tmm\c
ret
.endif
.endr
.endr
.endr
.endr

table tile_forms
entry
tileloadd (%rax,%rcx,1), %tmm5
ret
entry
tileloadd 0x20(%rax,%rcx,4), %tmm5
ret
entry
tileloadd 0x12345(%rax,%rcx,8), %tmm5
ret
entry
tileloadd -0x12345(%r13,%r12,8), %tmm5
ret
entry
tileloadd (%rbp,%r12,1), %tmm5
ret
entry
tileloadd (%r13,%rbp,1), %tmm5
ret
entry
.byte 0xC4, 0xE2, 0x7B, 0x4B, 0x2C, 0x20  # (%rax), no index
ret
entry
tileloadd 0x23450000(,%rcx,2), %tmm5
ret
entry
tileloadd 0x20(%eax,%ecx,2), %tmm5
ret
entry
tileloadd %fs:(%rax,%rcx,1), %tmm5
ret
entry
tileloaddt1 -0x20(%r9,%r15,2), %tmm5
ret
entry
tileloadd (%r12,%r13,1), %tmm5
ret

# What the assembler refuses: two tiles the same, a ninth tile, an address without SIB byte; and what shapes refuse.
table tile_refused
entry
.byte 0xC4, 0xE2, 0x6A, 0x5C, 0xC9  # tdpbf16ps tmm1, tmm1, tmm2
ret
entry
.byte 0xC4, 0xE2, 0x72, 0x5C, 0xC2  # tdpbf16ps tmm0, tmm2, tmm1
ret
entry
.byte 0xC4, 0xE2, 0x3B, 0x5E, 0xC1  # tdpbssd tmm0, tmm1, tmm8
ret
entry
.byte 0xC4, 0x62, 0x7B, 0x49, 0xC0  # tilezero tmm8
ret
entry
.byte 0xC4, 0xE2, 0x7B, 0x4B, 0x28  # tileloadd (%rax), %tmm5
ret
entry
tilezero %tmm3
ret

.globl tile_release, tile_configure, tile_configure_here, tile_tell, tile_invalid
tile_invalid:
ud2
tile_release:
tilerelease
ret
tile_configure:
ldtilecfg (%rax)
ret
tile_configure_here:
ldtilecfg tile_configuration(%rip)
ret
tile_tell:
sttilecfg (%rax)
ret

.globl tile_call
tile_call:
push %rbx
push %rbp
push %r12
push %r13
push %r14
push %r15
push %rdi
mov %rsi, %rax
mov 8(%rax), %rcx
mov 16(%rax), %rdx
mov 24(%rax), %rbx
mov 40(%rax), %rbp
mov 48(%rax), %rsi
mov 56(%rax), %rdi
mov 64(%rax), %r8
mov 72(%rax), %r9
mov 80(%rax), %r10
mov 88(%rax), %r11
mov 96(%rax), %r12
mov 104(%rax), %r13
mov 112(%rax), %r14
mov 120(%rax), %r15
mov (%rax), %rax
call *(%rsp)
pop %rdi
pop %r15
pop %r14
pop %r13
pop %r12
pop %rbp
pop %rbx
ret

.globl half_scale, half_round
half_scale:
vmovdqu16 (%rdi), %zmm3
vmovdqu16 (%rsi), %zmm20
vscalefph %zmm20, %zmm3, %zmm31
vscalefph %zmm20, %zmm3, %zmm9
vmovdqu16 %zmm31, (%rdx)
vmovdqu16 %zmm9, 64(%rdx)
vmovdqu16 %zmm3, (%rcx)
vmovdqu16 %zmm20, 64(%rcx)
vzeroupper
ret
half_round:
vmovdqu16 (%rdi), %zmm17
vcvtph2w %zmm17, %zmm2
vcvtph2w %zmm17, %zmm25
vmovdqu16 %zmm2, (%rsi)
vmovdqu16 %zmm25, 64(%rsi)
vmovdqu16 %zmm17, (%rdx)
vzeroupper
ret

.popsection
.pushsection .rodata
.globl tile_configuration
.balign 64
tile_configuration:  # tiles 0 and 6: 3 rows of 20 bytes, 16 of 64
.byte 1
.zero 15
.word 20,0,0,0,0,0,64,0
.zero 16
.byte 3,0,0,0,0,0,16,0
.zero 8
.popsection
)");